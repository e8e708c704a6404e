// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * debug.c - KVM_SEV_DBG_DECRYPT, KVM_SEV_DBG_ENCRYPT
 *
 * The firmware takes whole blocks of 16 bytes; KVM lets its client name any bytes.  Here all go
 * through a buffer of one page: what is asked for is cut out of decrypted blocks, or patched into
 * them before they are encrypted again.  Pages of a client need not be neighbours in memory, so
 * it is done piece by piece, none of which crosses a page of source or destination.
 */
#include <errno.h>
#include <string.h>

#include "softkvm/sev/internal.h"

#define PAGE  4096u
#define BLOCK PSP_BLOCK_LEN

struct piece {
	uint64_t src, dst; /* system-physical */
	uint8_t *src_bytes, *dst_bytes;
	uint32_t len;
};

static uint32_t blocks_len(uint64_t address, uint32_t len)
{
	return (uint32_t)(address % BLOCK + len + BLOCK - 1) / BLOCK * BLOCK;
}

/* The blocks that [address, +len) is in, between guest memory and the start of the buffer. */
static int run(struct sev_op *op, uint32_t number, uint64_t address, uint32_t len, uint64_t buffer)
{
	bool encrypts = number == PSP_DBG_ENCRYPT;
	uint64_t block = address - address % BLOCK;
	struct psp_cmd_dbg c = {
		.handle = op->vm->sev.handle,
		.src_address = encrypts ? buffer : block,
		.dst_address = encrypts ? block : buffer,
		.len = blocks_len(address, len),
	};

	return sev_op_firmware(op, number, &c);
}

static int decrypt(struct sev_op *op, const struct piece *piece, uint64_t buffer)
{
	int err = run(op, PSP_DBG_DECRYPT, piece->src, piece->len, buffer);

	if (err == 0)
		memcpy(piece->dst_bytes,
		       sev_bounce_at(&op->bounce, buffer + piece->src % BLOCK, piece->len),
		       piece->len);
	return err;
}

static int encrypt(struct sev_op *op, const struct piece *piece, uint64_t buffer)
{
	int err = 0;

	if (piece->dst % BLOCK || piece->len % BLOCK)
		err = run(op, PSP_DBG_DECRYPT, piece->dst, piece->len, buffer);
	if (err < 0)
		return err;
	memcpy(sev_bounce_at(&op->bounce, buffer + piece->dst % BLOCK, piece->len),
	       piece->src_bytes, piece->len);
	return run(op, PSP_DBG_ENCRYPT, piece->dst, piece->len, buffer);
}

static int do_piece(struct sev_op *op, struct piece *piece, uint64_t buffer, bool encrypts)
{
	struct memory_objects *objects = op->sev->host->memory_objects;

	piece->src_bytes = memory_map(objects, piece->src, piece->len);
	piece->dst_bytes = memory_map(objects, piece->dst, piece->len);
	if (!piece->src_bytes || !piece->dst_bytes)
		return -ENOMEM;
	return encrypts ? encrypt(op, piece, buffer) : decrypt(op, piece, buffer);
}

/* Pins the pages that the piece is in, for as long as it takes. */
static int pin_and_do(struct sev_op *op, uint64_t src, uint64_t dst, uint32_t len, uint64_t buffer,
		      bool encrypts)
{
	struct pinned *src_page, *dst_page;
	struct piece piece = {.len = len};
	int err = sev_pin(op->call, op->vm, src - src % PAGE, PAGE, false, &src_page);

	if (err < 0)
		return err;
	err = sev_pin(op->call, op->vm, dst - dst % PAGE, PAGE, true, &dst_page);
	if (err == 0) {
		piece.src = src_page->stretch[0].address + src % PAGE;
		piece.dst = dst_page->stretch[0].address + dst % PAGE;
		err = do_piece(op, &piece, buffer, encrypts);
		memory_unpin(dst_page);
	}
	memory_unpin(src_page);
	return err;
}

static uint32_t min(uint64_t a, uint64_t b)
{
	return (uint32_t)(a < b ? a : b);
}

static int debug(struct sev_op *op, bool encrypts)
{
	struct kvm_sev_dbg params;
	uint64_t buffer;
	uint32_t n;
	int err;

	if (!op->vm->sev.active)
		return -ENOTTY;
	err = sev_op_get(op, &params, sizeof(params));
	if (err < 0)
		return err;
	if (!params.len || params.src_uaddr + params.len < params.src_uaddr || !params.dst_uaddr)
		return -EINVAL;
	err = sev_bounce_new(&op->bounce, PAGE, &buffer);
	for (uint64_t done = 0; err == 0 && done < params.len; done += n) {
		uint64_t src = params.src_uaddr + done, dst = params.dst_uaddr + done;

		n = min(params.len - done, min(PAGE - src % PAGE, PAGE - dst % PAGE));
		err = pin_and_do(op, src, dst, n, buffer, encrypts);
	}
	sev_doubt(op->vm); /* what was decrypted may lie in guest memory, too */
	return err;
}

int sev_dbg_decrypt(struct sev_op *op)
{
	return debug(op, false);
}

int sev_dbg_encrypt(struct sev_op *op)
{
	return debug(op, true);
}
