// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * debug.c - KVM_SEV_DBG_DECRYPT, KVM_SEV_DBG_ENCRYPT
 *
 * The firmware takes whole blocks of 16 bytes; KVM lets its client name any bytes.  Here all go
 * through a buffer of one page: what is asked for is cut out of decrypted blocks, or patched into
 * them before they are encrypted again.  Pages of a client need not be neighbours in memory, so
 * it is done piece by piece, none of which crosses a page of source or destination.
 *
 * KVM pins both sides.  Here only the encrypted one is, which the firmware must see where it is:
 * the other is copied, since it often is a variable on the caller's stack, and pinning turns
 * private memory into a file's.
 */
#include <errno.h>
#include <string.h>

#include "softkvm/sev/internal.h"

#define PAGE  4096u
#define BLOCK PSP_BLOCK_LEN

struct piece {
	uint64_t encrypted; /* system-physical */
	uint64_t plain;	    /* the client's */
	uint32_t len;
};

static uint32_t blocks_len(uint64_t address, uint32_t len)
{
	return (uint32_t)(address % BLOCK + len + BLOCK - 1) / BLOCK * BLOCK;
}

/* The blocks from that of address on, between guest memory and the start of the buffer. */
static int run(struct sev_op *op, uint32_t number, uint64_t address, uint32_t len, uint64_t buffer)
{
	bool encrypts = number == PSP_DBG_ENCRYPT;
	uint64_t block = address - address % BLOCK;
	struct psp_cmd_dbg c = {
		.handle = op->vm->sev.handle,
		.src_address = encrypts ? buffer : block,
		.dst_address = encrypts ? block : buffer,
		.len = len,
	};

	return sev_op_firmware(op, number, &c);
}

/* As if it could not be pinned. */
static int copied(int err)
{
	return err == -EFAULT ? -ENOMEM : err;
}

static int decrypt(struct sev_op *op, const struct piece *piece, uint64_t buffer)
{
	int err = run(op, PSP_DBG_DECRYPT, piece->encrypted,
		      blocks_len(piece->encrypted, piece->len), buffer);

	if (err < 0)
		return err;
	return copied(call_copy_out_now(
		op->call, piece->plain,
		sev_bounce_at(&op->bounce, buffer + piece->encrypted % BLOCK, piece->len),
		piece->len));
}

static int encrypt(struct sev_op *op, const struct piece *piece, uint64_t buffer)
{
	uint32_t len = blocks_len(piece->encrypted, piece->len);
	uint8_t plain[PAGE];
	int err = copied(call_copy_in(op->call, plain, piece->plain, piece->len));

	if (err == 0 && (piece->encrypted % BLOCK || piece->len % BLOCK))
		err = run(op, PSP_DBG_DECRYPT, piece->encrypted, len, buffer);
	if (err < 0)
		return err;
	memcpy(sev_bounce_at(&op->bounce, buffer + piece->encrypted % BLOCK, piece->len), plain,
	       piece->len);
	/* KVM forgets where in its first block the piece begins, and what is in one more block. */
	if (!op->sev->host->config.without_quirks)
		len = blocks_len(0, piece->len);
	return run(op, PSP_DBG_ENCRYPT, piece->encrypted, len, buffer);
}

/* Pins the page that the encrypted side is in, for as long as it takes. */
static int pin_and_do(struct sev_op *op, uint64_t encrypted, uint64_t plain, uint32_t len,
		      uint64_t buffer, bool encrypts)
{
	struct piece piece = {.plain = plain, .len = len};
	struct pinned *page;
	int err = sev_may_pin(op->call, op->vm, 2); /* KVM's count */

	if (err == 0)
		err = sev_pin(op->call, op->vm, encrypted - encrypted % PAGE, PAGE, encrypts,
			      &page);
	if (err < 0)
		return err;
	piece.encrypted = page->stretch[0].address + encrypted % PAGE;
	err = encrypts ? encrypt(op, &piece, buffer) : decrypt(op, &piece, buffer);
	memory_unpin(page);
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
		err = pin_and_do(op, encrypts ? dst : src, encrypts ? src : dst, n, buffer,
				 encrypts);
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
