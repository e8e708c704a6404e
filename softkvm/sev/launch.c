// SPDX-License-Identifier: GPL-2.0-or-later
/* launch.c - commands of KVM that load and measure a guest, and that tell what it is */
#include <errno.h>
#include <string.h>

#include "softkvm/sev/internal.h"

#define HUGE_PAGE (2u << 20)

int sev_start(struct sev_op *op, uint32_t number, struct psp_cmd_start *c, uint32_t *handle,
	      const void *params, size_t len)
{
	struct sev_vm *vm = &op->vm->sev;
	int err = sev_op_firmware(op, number, c);

	if (err == 0)
		err = sev_bind(op->sev, c->handle, vm->asid, &op->cmd.error);
	if (err < 0)
		return err;
	*handle = c->handle;
	if (call_copy_out_now(op->call, op->cmd.data, params, len) < 0) {
		sev_unbind(op->sev, c->handle);
		return -EFAULT;
	}
	/*
	 * A guest that shares its key may be where another is already.  KVM forgets that one, and
	 * the firmware keeps it and the ASID for ever; that would be at the expense of other
	 * clients.
	 */
	sev_unbind(op->sev, vm->handle);
	vm->handle = c->handle;
	vm->fd = (int)op->cmd.sev_fd;
	sev_asid_set_key(op->sev, vm->asid);
	sev_doubt(op->vm);
	return 0;
}

int sev_launch_start(struct sev_op *op)
{
	struct kvm_sev_launch_start params;
	uint64_t cert = 0, session = 0;
	struct psp_cmd_start c = {0};
	int err;

	if (!op->vm->sev.active)
		return -ENOTTY;
	err = sev_op_get(op, &params, sizeof(params));
	if (err == 0 && params.dh_uaddr)
		err = sev_bounce_in(&op->bounce, op->call, params.dh_uaddr, params.dh_len, &cert);
	if (err == 0 && params.session_uaddr)
		err = sev_bounce_in(&op->bounce, op->call, params.session_uaddr, params.session_len,
				    &session);
	if (err < 0)
		return err;
	c.handle = params.handle;
	c.policy = params.policy;
	c.cert_address = cert;
	c.cert_len = cert ? params.dh_len : 0;
	c.session_address = session;
	c.session_len = session ? params.session_len : 0;
	return sev_start(op, PSP_LAUNCH_START, &c, &params.handle, &params, sizeof(params));
}

/* Not all at once: other clients want the firmware, too, and have to wait for huge pages only. */
static int update_stretch(struct sev_op *op, const struct pinned_stretch *stretch)
{
	int err = 0;

	for (uint64_t done = 0; err == 0 && done < stretch->len; done += HUGE_PAGE) {
		uint64_t left = stretch->len - done;
		struct psp_cmd_range c = {
			.handle = op->vm->sev.handle,
			.address = stretch->address + done,
			.len = left < HUGE_PAGE ? (uint32_t)left : HUGE_PAGE,
		};

		err = sev_op_firmware(op, PSP_LAUNCH_UPDATE_DATA, &c);
	}
	return err;
}

int sev_launch_update_data(struct sev_op *op)
{
	struct kvm_sev_launch_update_data params;
	struct pinned *pinned;
	int err;

	if (!op->vm->sev.active)
		return -ENOTTY;
	err = sev_op_get(op, &params, sizeof(params));
	if (err == 0)
		err = sev_pin(op->call, op->vm, params.uaddr, params.len, true, &pinned);
	if (err < 0)
		return err;
	for (unsigned i = 0; err == 0 && i < pinned->n; i++)
		err = update_stretch(op, &pinned->stretch[i]);
	memory_unpin(pinned);
	sev_doubt(op->vm);
	return err;
}

/* The vCPU is locked. */
static int update_vmsa(struct sev_op *op, struct vcpu *vcpu)
{
	struct psp_cmd_range c = {
		.handle = op->vm->sev.handle,
		.address = vcpu->sev.vmsa_address,
		.len = PSP_PAGE_LEN,
	};
	int err;

	if (vcpu->sev.is_protected && op->sev->host->config.profile == PROFILE_MAIN)
		return -EINVAL;
	err = vmsa_build(vcpu, vcpu->sev.vmsa);
	if (err == 0)
		err = sev_op_firmware(op, PSP_LAUNCH_UPDATE_VMSA, &c);
	if (err == 0)
		vcpu->sev.is_protected = vcpu->fpu_is_confidential = true;
	return err;
}

int sev_launch_update_vmsa(struct sev_op *op)
{
	struct vm *vm = op->vm;
	unsigned n = atomic_load(&vm->n_vcpus);
	int err = 0;

	if (!vm->sev.es)
		return -ENOTTY;
	/* Checked since March 2026, as is that each is done once. */
	if (vm->n_created != n && op->sev->host->config.profile == PROFILE_MAIN)
		return -EBUSY;
	for (unsigned i = 0; err == 0 && i < n; i++) {
		err = call_lock(op->call, &vm->vcpu[i]->lock);
		if (err < 0)
			return err;
		err = update_vmsa(op, vm->vcpu[i]);
		pthread_mutex_unlock(&vm->vcpu[i]->lock);
	}
	return err;
}

/*
 * A buffer for what the firmware answers.  Without a length the client asks how long it must be;
 * then, and without an address, there is none.
 */
static int new_answer(struct sev_op *op, uint64_t uaddr, uint32_t len, uint64_t *ret_address)
{
	*ret_address = 0;
	if (!uaddr || !len)
		return 0;
	return len > SEV_BLOB_MAX ? -EINVAL : sev_bounce_new(&op->bounce, len, ret_address);
}

/* The answer goes out; its length, in params, too, unless the firmware refused to give one. */
static int put_answer(struct sev_op *op, uint64_t uaddr, uint64_t address, uint32_t *len,
		      uint32_t answer_len, const void *params, size_t params_len, int result)
{
	if (result < 0 && *len)
		return result;
	if (address)
		result = sev_op_put_bounce(op, uaddr, address, *len, result);
	*len = answer_len;
	return sev_op_put(op, params, params_len, result);
}

int sev_launch_measure(struct sev_op *op)
{
	struct psp_cmd_range c = {.handle = op->vm->sev.handle};
	struct kvm_sev_launch_measure params;
	uint64_t address;
	int err;

	if (!op->vm->sev.active)
		return -ENOTTY;
	err = sev_op_get(op, &params, sizeof(params));
	if (err == 0)
		err = new_answer(op, params.uaddr, params.len, &address);
	if (err < 0)
		return err;
	c.address = address;
	c.len = address ? params.len : 0;
	err = sev_op_firmware(op, PSP_LAUNCH_MEASURE, &c);
	return put_answer(op, params.uaddr, address, &params.len, c.len, &params, sizeof(params),
			  err);
}

int sev_attestation(struct sev_op *op)
{
	struct psp_cmd_attestation c = {.handle = op->vm->sev.handle};
	struct kvm_sev_attestation_report params;
	uint64_t address;
	int err;

	if (!op->vm->sev.active)
		return -ENOTTY;
	err = sev_op_get(op, &params, sizeof(params));
	if (err == 0)
		err = new_answer(op, params.uaddr, params.len, &address);
	if (err < 0)
		return err;
	c.address = address;
	c.len = address ? params.len : 0;
	if (address)
		memcpy(c.mnonce, params.mnonce, sizeof(c.mnonce));
	err = sev_op_firmware(op, PSP_ATTESTATION, &c);
	return put_answer(op, params.uaddr, address, &params.len, c.len, &params, sizeof(params),
			  err);
}

/* To the firmware, memory of a guest is one stretch of physical addresses. */
static bool is_contiguous(const struct pinned *pinned)
{
	for (unsigned i = 1; i < pinned->n; i++)
		if (pinned->stretch[i].address !=
		    pinned->stretch[i - 1].address + pinned->stretch[i - 1].len)
			return false;
	return true;
}

static int inject(struct sev_op *op, const struct kvm_sev_launch_secret *params,
		  const struct pinned *pinned)
{
	struct psp_cmd_packet c = {.handle = op->vm->sev.handle};
	uint64_t header, trans;
	int err;

	if (!is_contiguous(pinned))
		return -EINVAL;
	err = sev_bounce_in(&op->bounce, op->call, params->trans_uaddr, params->trans_len, &trans);
	if (err == 0)
		err = sev_bounce_in(&op->bounce, op->call, params->hdr_uaddr, params->hdr_len,
				    &header);
	if (err < 0)
		return err;
	c.guest_address = pinned->stretch[0].address;
	c.guest_len = params->guest_len;
	c.trans_address = trans;
	c.trans_len = params->trans_len;
	c.header_address = header;
	c.header_len = params->hdr_len;
	return sev_op_firmware(op, PSP_LAUNCH_SECRET, &c);
}

int sev_launch_secret(struct sev_op *op)
{
	struct kvm_sev_launch_secret params;
	struct pinned *pinned;
	int err;

	if (!op->vm->sev.active)
		return -ENOTTY;
	err = sev_op_get(op, &params, sizeof(params));
	if (err == 0)
		err = sev_pin(op->call, op->vm, params.guest_uaddr, params.guest_len, true,
			      &pinned);
	if (err < 0)
		return err;
	err = inject(op, &params, pinned);
	memory_unpin(pinned);
	sev_doubt(op->vm);
	return err;
}

int sev_launch_finish(struct sev_op *op)
{
	return sev_op_simple(op, PSP_LAUNCH_FINISH);
}

int sev_guest_status(struct sev_op *op)
{
	struct psp_cmd_guest_status c = {.handle = op->vm->sev.handle};
	struct kvm_sev_guest_status params = {.handle = c.handle};
	int err;

	if (!op->vm->sev.active)
		return -ENOTTY;
	err = sev_op_firmware(op, PSP_GUEST_STATUS, &c);
	if (err < 0)
		return err;
	params.policy = c.policy;
	params.state = c.state;
	return sev_op_put(op, &params, sizeof(params), 0);
}
