// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * command.c - KVM_MEMORY_ENCRYPT_OP: Documentation/virt/kvm/x86/amd-memory-encryption.rst
 *
 * A command of KVM is checks of its own, in an order that a VMM can see, and then mostly one
 * command of the firmware with the same name.  What the firmware answered is in the command's
 * error, the rest is an errno.
 */
#include <errno.h>

#include "kvm/cleanup.h"
#include "softkvm/sev/internal.h"

/* Later than the headers that this is built with. */
#define COMMAND_INIT2		  22
#define COMMAND_SNP_LAUNCH_START  100
#define COMMAND_SNP_LAUNCH_UPDATE 101
#define COMMAND_SNP_LAUNCH_FINISH 102

/* What an SNP command says of a VM that is not one. */
static int not_snp(struct sev_op *op)
{
	(void)op;
	return -ENOTTY;
}

static const struct command {
	uint32_t id;
	sev_command *run;
	bool for_mirrors;
	bool is_new; /* since Linux 6.10 or 6.11 */
} commands[] = {
	{.id = KVM_SEV_INIT, .run = sev_init},
	{.id = KVM_SEV_ES_INIT, .run = sev_init},
	{.id = KVM_SEV_LAUNCH_START, .run = sev_launch_start},
	{.id = KVM_SEV_LAUNCH_UPDATE_DATA, .run = sev_launch_update_data},
	{.id = KVM_SEV_LAUNCH_UPDATE_VMSA, .run = sev_launch_update_vmsa, .for_mirrors = true},
	{.id = KVM_SEV_LAUNCH_SECRET, .run = sev_launch_secret},
	{.id = KVM_SEV_LAUNCH_MEASURE, .run = sev_launch_measure},
	{.id = KVM_SEV_LAUNCH_FINISH, .run = sev_launch_finish},
	{.id = KVM_SEV_SEND_START, .run = sev_send_start},
	{.id = KVM_SEV_SEND_UPDATE_DATA, .run = sev_send_update_data},
	{.id = KVM_SEV_SEND_FINISH, .run = sev_send_finish},
	{.id = KVM_SEV_RECEIVE_START, .run = sev_receive_start},
	{.id = KVM_SEV_RECEIVE_UPDATE_DATA, .run = sev_receive_update_data},
	{.id = KVM_SEV_RECEIVE_FINISH, .run = sev_receive_finish},
	{.id = KVM_SEV_GUEST_STATUS, .run = sev_guest_status, .for_mirrors = true},
	{.id = KVM_SEV_DBG_DECRYPT, .run = sev_dbg_decrypt, .for_mirrors = true},
	{.id = KVM_SEV_DBG_ENCRYPT, .run = sev_dbg_encrypt, .for_mirrors = true},
	{.id = KVM_SEV_GET_ATTESTATION_REPORT, .run = sev_attestation},
	{.id = KVM_SEV_SEND_CANCEL, .run = sev_send_cancel},
	{.id = COMMAND_INIT2, .run = sev_init2, .is_new = true},
	{.id = COMMAND_SNP_LAUNCH_START, .run = not_snp, .is_new = true},
	{.id = COMMAND_SNP_LAUNCH_UPDATE, .run = not_snp, .is_new = true},
	{.id = COMMAND_SNP_LAUNCH_FINISH, .run = not_snp, .is_new = true},
};

static const struct command *find(uint32_t id, enum profile profile)
{
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
		if (commands[i].id == id && (!commands[i].is_new || profile == PROFILE_MAIN))
			return &commands[i];
	return NULL;
}

static long run(struct sev_op *op, uint64_t arg)
{
	const struct command *command = find(op->cmd.id, op->sev->host->config.profile);
	long result;

	if (atomic_load(&op->vm->dead))
		return -EIO;
	if (!command || (op->vm->sev.is_mirror && !command->for_mirrors))
		return -EINVAL;
	if (command->id == KVM_SEV_ES_INIT && op->sev->asids.min_sev == 1)
		return -ENOTTY;
	result = command->run(op);
	return sev_op_put_at(op, arg, &op->cmd, sizeof(op->cmd), result);
}

long sev_mem_enc_op(struct call *call, struct vm *vm, uint64_t arg)
{
	struct sev_op op = {.call = call, .sev = vm->object.host->sev, .vm = vm};
	long result;

	if (!op.sev || !op.sev->asids.max)
		return -ENOTTY;
	if (!arg)
		return 0;
	result = call_copy_in(call, &op.cmd, arg, sizeof(op.cmd));
	if (result == 0)
		result = call_lock(call, &vm->lock);
	if (result < 0)
		return result;
	result = run(&op, arg);
	pthread_mutex_unlock(&vm->lock);
	sev_bounce_done(&op.bounce);
	return result;
}

/* Who may talk to the firmware is who has its device open. */
static int check_device(struct call *call, int fd)
{
	struct object *object;
	bool is_device;

	if (call_object(call, fd, &object) < 0)
		return -EBADF;
	is_device = sev_is_device(object);
	object_put(object);
	return is_device ? 0 : -EBADF;
}

int sev_op_firmware(struct sev_op *op, uint32_t number, void *buffer)
{
	bool is_start = number == PSP_LAUNCH_START || number == PSP_RECEIVE_START;
	int fd = op->vm->sev.fd, err;

	if (is_start || fd == SEV_FD_OF_COMMAND)
		fd = (int)op->cmd.sev_fd;
	err = check_device(op->call, fd);
	if (err < 0)
		return err;
	return sev_firmware(op->sev, number, buffer, &op->bounce, &op->cmd.error);
}

int sev_op_simple(struct sev_op *op, uint32_t number)
{
	struct psp_cmd_guest c = {op->vm->sev.handle};

	return op->vm->sev.active ? sev_op_firmware(op, number, &c) : -ENOTTY;
}

int sev_op_get(struct sev_op *op, void *ret, size_t len)
{
	return call_copy_in(op->call, ret, op->cmd.data, len);
}

int sev_op_put_at(struct sev_op *op, uint64_t uaddr, const void *data, size_t len, int result)
{
	return call_copy_out(op->call, uaddr, data, len) < 0 ? -EFAULT : result;
}

int sev_op_put(struct sev_op *op, const void *data, size_t len, int result)
{
	return sev_op_put_at(op, op->cmd.data, data, len, result);
}

int sev_op_put_bounce(struct sev_op *op, uint64_t uaddr, uint64_t address, uint32_t len, int result)
{
	return sev_op_put_at(op, uaddr, sev_bounce_at(&op->bounce, address, len), len, result);
}

/* The owner and all its mirrors have the same key. */
void sev_doubt(struct vm *vm)
{
	struct sev_host *sev = vm->object.host->sev;
	const struct vm *owner;

	pthread_mutex_lock(&sev->mirror_lock);
	owner = vm->sev.owner ? vm->sev.owner : vm;
	slots_doubt(owner->slots);
	for (const struct vm *mirror = owner->sev.mirrors; mirror; mirror = mirror->sev.next_mirror)
		slots_doubt(mirror->slots);
	pthread_mutex_unlock(&sev->mirror_lock);
}
