// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * KVM_RUN.
 *
 * Theory of operation.  A call runs the interpreter in rounds of some thousand instructions.
 * Between two rounds it looks at whatever may have happened: a signal for the thread, the death of
 * the VM, timers, INIT and SIPI, interrupts to be delivered.  Nobody else changes the vCPU: the
 * call holds its lock.  Who wants it to look earlier kicks it (vcpu_kick()): that raises the CPU's
 * `attention`, which ends a round, and wakes a vCPU that waits in HLT.  Being kicked means nothing
 * but "look", so that no kick has to be told from another, and one too many does no harm.
 *
 * A vCPU that waits for nothing keeps no pages of the guest's memory: it has left its slots.
 *
 * The run page is the client's to write to at any time.  What is read from there is read once.
 */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kvm/cleanup.h"

/* Some hundred microseconds: as late as that a timer may be. */
#define ROUND 4096

/* As long as that a guest may go on after its VMM has been stopped. */
#define LOOKOUT_NS 1000000

#define RFLAGS_IF (1ull << 9)
#define CR8_MAX	  15

/* Beside -errno: go on. */
#define GO_ON 1

static bool is_es(const struct vcpu *vcpu)
{
	return vcpu->vm->sev.es;
}

static uint8_t read_once(const uint8_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

/*
 * Attention is lowered before anything is looked at, so that what happens after is not missed: by
 * this, and by the kick's own flag.
 */
static void lower_attention(struct vcpu *vcpu)
{
	(void)pthread_mutex_lock(&vcpu->wait_lock);
	vcpu->is_kicked = false;
	atomic_store_explicit(&vcpu->cpu->attention, false, memory_order_release);
	(void)pthread_mutex_unlock(&vcpu->wait_lock);
}

void vcpu_enter_memory(struct vcpu *vcpu)
{
	const struct vm *vm = vcpu->vm;
	uint64_t layout;

	lower_attention(vcpu);
	layout = slots_enter(vm->slots, vm->sev.active ? sev_vek(vm) : NULL);
	if (layout == vcpu->memory_layout)
		return;
	vcpu->memory_layout = layout;
	cpu_flush(vcpu->cpu);
}

void vcpu_leave_memory(struct vcpu *vcpu)
{
	slots_leave(vcpu->vm->slots);
}

/* Somebody wants us to look, or to get out of the way. */
static void attend(struct vcpu *vcpu)
{
	vcpu_leave_memory(vcpu);
	vcpu_enter_memory(vcpu);
}

/* INIT and SIPI (APM volume 2, 14.1, 16.5).  Of an SEV-ES vCPU they change no register. */

void vcpu_accept_signals(struct vcpu *vcpu)
{
	struct cpu_state *state = &vcpu->cpu->state;
	uint8_t vector;

	while (vcpu->lapic) {
		switch (lapic_take_signal(vcpu->lapic, &vector)) {
		case LAPIC_NO_SIGNAL:
			return;
		case LAPIC_INIT:
			cpu_init_signal(sev_es_kvm_state(vcpu));
			lapic_init_signal(vcpu->lapic);
			vcpu_tpr_to_cr8(vcpu);
			vcpu->io.n = 0;
			vcpu->io.is_asked = false;
			vcpu->mp_state = vcpu_is_bsp(vcpu) ? KVM_MP_STATE_RUNNABLE
							   : KVM_MP_STATE_INIT_RECEIVED;
			break;
		case LAPIC_STARTUP:
			/* Only what waits for it takes it. */
			if (vcpu->mp_state != KVM_MP_STATE_INIT_RECEIVED)
				break;
			if (is_es(vcpu))
				sev_es_startup(vcpu);
			else
				cpu_startup(state, vector);
			vcpu->mp_state = KVM_MP_STATE_RUNNABLE;
			break;
		}
	}
}

/* Events. */

static bool has_nmi(struct vcpu *vcpu)
{
	if (vcpu->lapic && lapic_take_nmi(vcpu->lapic))
		vcpu->n_nmis++;
	return vcpu->n_nmis > 0;
}

static bool has_interrupt(struct vcpu *vcpu)
{
	return vcpu->lapic && lapic_pending(vcpu->lapic) >= 0;
}

/* Deliver what can be, one of each at most; have the CPU stop when what is left can be. */
static void inject(struct vcpu *vcpu)
{
	struct cpu *cpu = vcpu->cpu;

	cpu->window_wanted = false;
	if (vcpu->interrupt >= 0) {
		/* The VMM has seen to it that it can be. */
		cpu_interrupt(cpu, (uint8_t)vcpu->interrupt);
		vcpu->interrupt = -1;
		return;
	}
	if (has_nmi(vcpu) && cpu_can_nmi(cpu)) {
		vcpu->n_nmis--;
		cpu_nmi(cpu);
		return;
	}
	if (has_interrupt(vcpu)) {
		int vector = cpu_can_interrupt(cpu) ? lapic_take(vcpu->lapic) : -1;

		if (vector >= 0)
			cpu_interrupt(cpu, (uint8_t)vector);
		else
			cpu->window_wanted = true;
	}
	if (!vcpu->lapic && read_once(&vcpu->run->request_interrupt_window))
		cpu->window_wanted = true;
}

/* Waiting. */

static bool is_woken(struct vcpu *vcpu)
{
	uint32_t mp_state = vcpu->mp_state;

	switch (mp_state) {
	case KVM_MP_STATE_RUNNABLE:
		return true;
	case KVM_MP_STATE_HALTED:
	case KVM_MP_STATE_AP_RESET_HOLD:
		return vcpu->has_triple_fault || (has_nmi(vcpu) && cpu_can_nmi(vcpu->cpu)) ||
		       (has_interrupt(vcpu) && cpu_can_interrupt(vcpu->cpu));
	default:
		return false;
	}
}

static void wait_for_kick(struct vcpu *vcpu, uint64_t deadline)
{
	const struct timespec until = {
		.tv_sec = (time_t)(deadline / 1000000000u),
		.tv_nsec = (long)(deadline % 1000000000u),
	};
	int r = 0;

	(void)pthread_mutex_lock(&vcpu->wait_lock);
	while (!vcpu->is_kicked && r != ETIMEDOUT) {
		if (deadline == UINT64_MAX)
			(void)pthread_cond_wait(&vcpu->wake, &vcpu->wait_lock);
		else
			r = pthread_cond_timedwait(&vcpu->wake, &vcpu->wait_lock, &until);
	}
	vcpu->is_kicked = false;
	(void)pthread_mutex_unlock(&vcpu->wait_lock);
}

/*
 * SIGSTOP makes every thread leave the kernel, and nobody tells the host: a guest must not go on
 * while its VMM stands still.
 */
static bool is_stopped(struct vcpu *vcpu, struct call *call)
{
	uint64_t now = host_now_ns();

	if (now < vcpu->lookout_ns)
		return false;
	vcpu->lookout_ns = now + LOOKOUT_NS;
	return call_is_stopped(call);
}

static int why_leave(struct vcpu *vcpu, struct call *call)
{
	if (vcpu->vm->dead)
		return -EIO;
	if (call_is_interrupted(call) || call_is_killed(call) || is_stopped(vcpu, call)) {
		vcpu->run->exit_reason = KVM_EXIT_INTR;
		return -EINTR;
	}
	return GO_ON;
}

/* Until the vCPU is to run, INIT or SIPI have come, or it must leave. */
static int block(struct vcpu *vcpu, struct call *call)
{
	for (;;) {
		int r = why_leave(vcpu, call);

		if (r != GO_ON)
			return r;
		if (vcpu->lapic)
			lapic_poll(vcpu->lapic);
		if (is_woken(vcpu)) {
			vcpu->mp_state = KVM_MP_STATE_RUNNABLE;
			return GO_ON;
		}
		if (vcpu->lapic && lapic_peek_signal(vcpu->lapic) != LAPIC_NO_SIGNAL)
			return GO_ON;
		wait_for_kick(vcpu, vcpu->lapic ? lapic_deadline(vcpu->lapic) : UINT64_MAX);
	}
}

/* Why the CPU has stopped.  GO_ON, or what KVM_RUN returns. */

static int emulation_failed(struct vcpu *vcpu, const void *bytes, unsigned len)
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->emulation_failure.suberror = KVM_INTERNAL_ERROR_EMULATION;
	run->emulation_failure.ndata = 3; /* flags, and 16 bytes */
	run->emulation_failure.flags = KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
	run->emulation_failure.insn_size = (uint8_t)len;
	memset(run->emulation_failure.insn_bytes, 0x90, sizeof(run->emulation_failure.insn_bytes));
	memcpy(run->emulation_failure.insn_bytes, bytes, len);
	return 0;
}

/* Code that is not in memory at all has no bytes, and is a guest's mistake, not ours. */
static int unknown_instruction(struct vcpu *vcpu)
{
	const struct cpu *cpu = vcpu->cpu;
	char hex[2 * sizeof(cpu->unknown.bytes) + 1] = "";
	unsigned len = cpu->unknown.len;

	for (unsigned i = 0; i < len; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", cpu->unknown.bytes[i]);
	if (len > 0)
		(void)fprintf(stderr, "softkvm: vCPU %u: at 0x%llx: unknown instruction %s (%s)\n",
			      vcpu->id, (unsigned long long)cpu->state.rip, cpu->unknown.text, hex);
	return emulation_failed(vcpu, cpu->unknown.bytes, len);
}

/* The VMM is asked for what the instruction wants to know. */
static int exit_access(struct vcpu *vcpu)
{
	if (vcpu->io.is_fault)
		return -EFAULT;
	if (vcpu->io.is_overflown) {
		(void)fprintf(stderr,
			      "softkvm: vCPU %u: at 0x%llx: an instruction with too many accesses "
			      "that are the VMM's\n",
			      vcpu->id, (unsigned long long)vcpu->cpu->state.rip);
		return emulation_failed(vcpu, "", 0);
	}
	if (!vcpu->io.is_asked)
		return GO_ON;
	vcpu_exit_access(vcpu);
	return 0;
}

/* As SVM does it: after a shutdown there is no state but that of INIT. */
static int shut_down(struct vcpu *vcpu)
{
	vcpu->has_triple_fault = false;
	if (is_es(vcpu)) {
		if (vcpu->vm->object.host->config.profile != PROFILE_MAIN)
			return -EINVAL;
	} else {
		cpu_init_signal(&vcpu->cpu->state);
	}
	vcpu->run->exit_reason = KVM_EXIT_SHUTDOWN;
	return 0;
}

static int halt(struct vcpu *vcpu)
{
	vcpu->cpu->state.halted = false;
	if (vcpu->lapic) {
		vcpu->mp_state = KVM_MP_STATE_HALTED;
		return GO_ON;
	}
	vcpu->run->exit_reason = KVM_EXIT_HLT;
	return 0;
}

uint64_t vcpu_hypercall(const struct vcpu *vcpu, unsigned cpl)
{
	const int64_t enosys = 1000, eperm = 1; /* KVM_ENOSYS, KVM_EPERM */

	(void)vcpu;
	return (uint64_t)(cpl == 0 ? -enosys : -eperm);
}

static int window(struct vcpu *vcpu)
{
	if (vcpu->lapic || !read_once(&vcpu->run->request_interrupt_window) ||
	    !cpu_can_interrupt(vcpu->cpu))
		return GO_ON;
	vcpu->run->exit_reason = KVM_EXIT_IRQ_WINDOW_OPEN;
	return 0;
}

static int handle_stop(struct vcpu *vcpu, enum cpu_stop stop)
{
	struct cpu_state *state = &vcpu->cpu->state;
	bool is_to_user = false;
	int r;

	switch (stop) {
	case CPU_STOP_BUDGET:
	case CPU_STOP_ATTENTION:
	case CPU_STOP_DEBUG:
		return GO_ON;
	case CPU_STOP_PENDING:
		return exit_access(vcpu);
	case CPU_STOP_HALT:
		return halt(vcpu);
	case CPU_STOP_WINDOW:
		return window(vcpu);
	case CPU_STOP_SHUTDOWN:
		return shut_down(vcpu);
	case CPU_STOP_UNKNOWN:
		return unknown_instruction(vcpu);
	case CPU_STOP_VMMCALL:
		state->gpr[RAX] = vcpu_hypercall(vcpu, state->cpl);
		return GO_ON;
	case CPU_STOP_VMGEXIT:
		r = sev_es_vmgexit(vcpu, &is_to_user);
		return r < 0 ? r : is_to_user ? 0 : GO_ON;
	case CPU_STOP_TRAP:
		sev_es_trap(vcpu);
		vcpu_cr8_to_tpr(vcpu);
		return GO_ON;
	}
	return -EINVAL;
}

/* Do the instruction once more that the VMM was asked for. */
static int complete_io(struct vcpu *vcpu)
{
	struct cpu *cpu = vcpu->cpu;
	enum cpu_stop stop;
	int r;

	if (!vcpu->io.is_asked)
		return GO_ON;
	vcpu_take_answer(vcpu);
	if (cpu->state.rip != vcpu->io.rip) { /* the VMM had it go elsewhere */
		vcpu->io.n = 0;
		return GO_ON;
	}
	cpu->window_wanted = false;
	do {
		if (atomic_load_explicit(&cpu->attention, memory_order_acquire))
			attend(vcpu);
		vcpu->io.cursor = 0;
		stop = cpu_run(cpu, 1);
	} while (stop == CPU_STOP_ATTENTION);
	r = handle_stop(vcpu, stop);
	if (!vcpu->io.is_asked)
		vcpu->io.n = 0;
	return r;
}

static int run_round(struct vcpu *vcpu)
{
	struct cpu *cpu = vcpu->cpu;
	enum cpu_stop stop;

	if (is_es(vcpu))
		sev_es_resume(vcpu);
	inject(vcpu);
	vcpu->io.n = 0;
	vcpu->io.cursor = 0;
	vcpu->io.is_overflown = vcpu->io.is_fault = false;
	stop = cpu_run(cpu, ROUND);
	return handle_stop(vcpu, stop);
}

static int run_guest(struct vcpu *vcpu, struct call *call)
{
	for (;;) {
		if (atomic_load_explicit(&vcpu->cpu->attention, memory_order_acquire))
			attend(vcpu);

		int r = why_leave(vcpu, call);

		if (r != GO_ON)
			return r;
		if (vcpu->has_triple_fault)
			return shut_down(vcpu);
		if (vcpu->lapic)
			lapic_poll(vcpu->lapic);
		vcpu_accept_signals(vcpu);
		if (vcpu->mp_state != KVM_MP_STATE_RUNNABLE) {
			vcpu_leave_memory(vcpu);
			r = block(vcpu, call);
			vcpu_enter_memory(vcpu);
		} else {
			r = run_round(vcpu);
		}
		if (r != GO_ON)
			return r;
	}
}

/* What user space sees of the vCPU without asking (api.rst, chapter 5). */
static void fill_run(struct vcpu *vcpu)
{
	const struct cpu *cpu = vcpu->cpu;
	struct kvm_run *run = vcpu->run;

	run->if_flag = (cpu->state.rflags & RFLAGS_IF) != 0;
	run->flags = 0;
	run->cr8 = cpu->state.cr8;
	run->apic_base = vcpu_get_apic_base(vcpu);
	run->ready_for_interrupt_injection =
		vcpu->lapic || (vcpu->interrupt < 0 && cpu_can_interrupt(cpu));
}

/* With the registers where the CPU wants them. */
static int run_loaded(struct vcpu *vcpu, struct call *call)
{
	int r;

	if (vcpu->vm->sev.active)
		slots_doubt(vcpu->vm->slots);
	vcpu_enter_memory(vcpu);
	cpu_flush(vcpu->cpu); /* the VMM may have written code */
	r = complete_io(vcpu);
	if (r == GO_ON && read_once(&vcpu->run->immediate_exit))
		r = -EINTR;
	if (r == GO_ON)
		r = run_guest(vcpu, call);
	vcpu_leave_memory(vcpu);
	fill_run(vcpu);
	return r;
}

/* SEV-ES: the registers are in an encrypted page unless the vCPU runs. */
static int run_es(struct vcpu *vcpu, struct call *call)
{
	int r = sev_es_enter(vcpu);

	if (r != GO_ON)
		return r;
	r = run_loaded(vcpu, call);
	sev_es_leave(vcpu);
	return r;
}

/* A vCPU that has never been started waits for INIT and SIPI; then the VMM is to call again. */
static int wait_for_start(struct vcpu *vcpu, struct call *call)
{
	int r;

	if (read_once(&vcpu->run->immediate_exit))
		return -EINTR;
	r = block(vcpu, call);
	if (r != GO_ON)
		return r;
	vcpu_accept_signals(vcpu);
	return -EAGAIN;
}

static void kick(void *opaque)
{
	vcpu_kick(opaque);
}

long vcpu_run(struct vcpu *vcpu, struct call *call)
{
	uint64_t cr8 = __atomic_load_n(&vcpu->run->cr8, __ATOMIC_RELAXED);
	struct cpu *cpu = vcpu->cpu;
	int r;

	/* Registers in the run page (KVM_CAP_SYNC_REGS) are not modelled. */
	if (vcpu->vm->sev.need_init || (!vcpu->lapic && cr8 > CR8_MAX) ||
	    vcpu->run->kvm_valid_regs || vcpu->run->kvm_dirty_regs)
		return -EINVAL;
	vcpu->has_run = true;
	if (vcpu->has_signal_mask)
		call_signal_mask(call, vcpu->signal_mask);
	call_watch(call, &cpu->attention, kick, vcpu);
	cpu->c_bit = vcpu->vm->sev.active ? C_BIT : 0;
	cpu->es = is_es(vcpu);
	if (!vcpu->lapic && !is_es(vcpu))
		cpu->state.cr8 = cr8;
	if (vcpu->mp_state == KVM_MP_STATE_UNINITIALIZED)
		r = wait_for_start(vcpu, call);
	else
		r = is_es(vcpu) ? run_es(vcpu, call) : run_loaded(vcpu, call);
	call_watch(call, NULL, NULL, NULL);
	return r;
}
