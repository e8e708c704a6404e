// SPDX-License-Identifier: GPL-2.0-or-later
/* send.c - commands of KVM for a guest that goes to another host, and for one that comes */
#include <errno.h>

#include "softkvm/sev/internal.h"

#define PAGE 4096u

int sev_send_finish(struct sev_op *op)
{
	return sev_op_simple(op, PSP_SEND_FINISH);
}

int sev_send_cancel(struct sev_op *op)
{
	return sev_op_simple(op, PSP_SEND_CANCEL);
}

int sev_receive_finish(struct sev_op *op)
{
	return sev_op_simple(op, PSP_RECEIVE_FINISH);
}

/* What the client tells of the other host, in its order. */
static int get_send_blobs(struct sev_op *op, const struct kvm_sev_send_start *params,
			  struct psp_cmd_send_start *c)
{
	uint64_t pdh, chain, ca, session;
	int err = sev_bounce_new(&op->bounce, params->session_len, &session);

	if (err == 0)
		err = sev_bounce_in(&op->bounce, op->call, params->pdh_cert_uaddr,
				    params->pdh_cert_len, &pdh);
	if (err == 0)
		err = sev_bounce_in(&op->bounce, op->call, params->plat_certs_uaddr,
				    params->plat_certs_len, &chain);
	if (err == 0)
		err = sev_bounce_in(&op->bounce, op->call, params->amd_certs_uaddr,
				    params->amd_certs_len, &ca);
	if (err < 0)
		return err;
	c->pdh_address = pdh;
	c->pdh_len = params->pdh_cert_len;
	c->chain_address = chain;
	c->chain_len = params->plat_certs_len;
	c->ca_address = ca;
	c->ca_len = params->amd_certs_len;
	c->session_address = session;
	c->session_len = params->session_len;
	return 0;
}

int sev_send_start(struct sev_op *op)
{
	struct psp_cmd_send_start c = {.handle = op->vm->sev.handle};
	struct kvm_sev_send_start params;
	int err;

	if (!op->vm->sev.active)
		return -ENOTTY;
	err = sev_op_get(op, &params, sizeof(params));
	if (err < 0)
		return err;
	if (!params.session_len) {
		err = sev_op_firmware(op, PSP_SEND_START, &c);
		params.session_len = c.session_len;
		return sev_op_put(op, &params, sizeof(params), err);
	}
	if (!params.pdh_cert_uaddr || !params.pdh_cert_len || !params.session_uaddr ||
	    params.session_len > SEV_BLOB_MAX)
		return -EINVAL;
	err = get_send_blobs(op, &params, &c);
	if (err < 0)
		return err;
	err = sev_op_firmware(op, PSP_SEND_START, &c);
	if (err == 0)
		err = sev_op_put_bounce(op, params.session_uaddr, c.session_address,
					params.session_len, 0);
	params.policy = c.policy;
	params.session_len = c.session_len;
	return sev_op_put(op, &params, sizeof(params), err);
}

/* A packet carries a page at most, and what is in one page. */
static bool is_in_page(uint64_t uaddr, uint32_t len)
{
	return len <= PAGE && uaddr % PAGE + len <= PAGE;
}

/* The page with the packet's guest memory, and where that is. */
static int pin_page(struct sev_op *op, uint64_t uaddr, bool for_write, struct pinned **ret,
		    uint64_t *ret_address)
{
	int err = sev_pin(op->call, op->vm, uaddr - uaddr % PAGE, PAGE, for_write, ret);

	if (err < 0)
		return err;
	*ret_address = (*ret)->stretch[0].address + uaddr % PAGE;
	return 0;
}

static int query_packet_lens(struct sev_op *op, struct kvm_sev_send_update_data *params)
{
	struct psp_cmd_packet c = {.handle = op->vm->sev.handle};
	int err = sev_op_firmware(op, PSP_SEND_UPDATE_DATA, &c);

	params->hdr_len = c.header_len;
	params->trans_len = c.trans_len;
	return sev_op_put(op, params, sizeof(*params), err);
}

static int send_packet(struct sev_op *op, const struct kvm_sev_send_update_data *params,
		       uint64_t guest_address)
{
	uint64_t header, trans;
	int err = sev_bounce_new(&op->bounce, params->hdr_len, &header);
	struct psp_cmd_packet c;

	if (err == 0)
		err = sev_bounce_new(&op->bounce, params->trans_len, &trans);
	if (err < 0)
		return err;
	c = (struct psp_cmd_packet){
		.handle = op->vm->sev.handle,
		.header_address = header,
		.header_len = params->hdr_len,
		.guest_address = guest_address,
		.guest_len = params->guest_len,
		.trans_address = trans,
		.trans_len = params->trans_len,
	};
	err = sev_op_firmware(op, PSP_SEND_UPDATE_DATA, &c);
	if (err < 0)
		return err;
	err = sev_op_put_bounce(op, params->trans_uaddr, trans, params->trans_len, 0);
	return sev_op_put_bounce(op, params->hdr_uaddr, header, params->hdr_len, err);
}

int sev_send_update_data(struct sev_op *op)
{
	struct kvm_sev_send_update_data params;
	struct pinned *pinned;
	uint64_t address;
	int err;

	if (!op->vm->sev.active)
		return -ENOTTY;
	err = sev_op_get(op, &params, sizeof(params));
	if (err < 0)
		return err;
	if (!params.trans_len || !params.hdr_len)
		return query_packet_lens(op, &params);
	if (!params.trans_uaddr || !params.guest_uaddr || !params.guest_len || !params.hdr_uaddr ||
	    !is_in_page(params.guest_uaddr, params.guest_len))
		return -EINVAL;
	err = pin_page(op, params.guest_uaddr, false, &pinned, &address);
	if (err < 0)
		return err;
	err = send_packet(op, &params, address);
	memory_unpin(pinned);
	return err;
}

int sev_receive_start(struct sev_op *op)
{
	struct kvm_sev_receive_start params;
	uint64_t pdh, session;
	struct psp_cmd_start c;
	int err;

	if (!op->vm->sev.active)
		return -ENOTTY;
	err = sev_op_get(op, &params, sizeof(params));
	if (err < 0)
		return err;
	if (!params.pdh_uaddr || !params.pdh_len || !params.session_uaddr || !params.session_len)
		return -EINVAL;
	err = sev_bounce_in(&op->bounce, op->call, params.pdh_uaddr, params.pdh_len, &pdh);
	if (err == 0)
		err = sev_bounce_in(&op->bounce, op->call, params.session_uaddr, params.session_len,
				    &session);
	if (err < 0)
		return err;
	c = (struct psp_cmd_start){
		.handle = params.handle,
		.policy = params.policy,
		.cert_address = pdh,
		.cert_len = params.pdh_len,
		.session_address = session,
		.session_len = params.session_len,
	};
	return sev_start(op, PSP_RECEIVE_START, &c, &params.handle, &params, sizeof(params));
}

static int receive_packet(struct sev_op *op, const struct kvm_sev_receive_update_data *params,
			  struct psp_cmd_packet *c)
{
	struct pinned *pinned;
	uint64_t address;
	int err = pin_page(op, params->guest_uaddr, true, &pinned, &address);

	if (err < 0)
		return err;
	c->guest_address = address;
	c->guest_len = params->guest_len;
	err = sev_op_firmware(op, PSP_RECEIVE_UPDATE_DATA, c);
	memory_unpin(pinned);
	sev_doubt(op->vm);
	return err;
}

int sev_receive_update_data(struct sev_op *op)
{
	struct psp_cmd_packet c = {.handle = op->vm->sev.handle};
	struct kvm_sev_receive_update_data params;
	uint64_t header, trans;
	int err;

	if (!op->vm->sev.active)
		return -EINVAL; /* where all others have ENOTTY; so does KVM */
	err = sev_op_get(op, &params, sizeof(params));
	if (err < 0)
		return err;
	if (!params.hdr_uaddr || !params.hdr_len || !params.guest_uaddr || !params.guest_len ||
	    !params.trans_uaddr || !params.trans_len ||
	    !is_in_page(params.guest_uaddr, params.guest_len))
		return -EINVAL;
	err = sev_bounce_in(&op->bounce, op->call, params.hdr_uaddr, params.hdr_len, &header);
	if (err == 0)
		err = sev_bounce_in(&op->bounce, op->call, params.trans_uaddr, params.trans_len,
				    &trans);
	if (err < 0)
		return err;
	c.header_address = header;
	c.header_len = params.hdr_len;
	c.trans_address = trans;
	c.trans_len = params.trans_len;
	return receive_packet(op, &params, &c);
}
