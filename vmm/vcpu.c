/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The vCPU threads; the theory is in vcpu.h. */
#include "vcpu.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvm/ioctl.h"
#include "log.h"

#define KICK_SIGNAL SIGRTMIN

enum mode { MODE_WAIT, MODE_RUN, MODE_SAVE, MODE_QUIT };

struct vcpu {
	struct vcpus *vcpus;
	unsigned index;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	bool is_saved; /* for the present MODE_SAVE */
	bool is_dead;  /* it cannot run any more */
};

struct vcpus {
	const struct bus *bus;
	struct vmr_target *target;
	vcpus_end_fn *end;
	void *opaque;

	pthread_mutex_t lock;
	pthread_cond_t mode_changed;
	pthread_cond_t idle_changed;
	enum mode mode;
	struct vmr_source *source; /* with MODE_SAVE */
	unsigned n_idle;	   /* threads that wait for another mode */
	_Atomic bool leave;	   /* the guest is to be left */

	unsigned n;
	struct vcpu vcpu[];
};

static void ignore_signal(int signal)
{
	(void)signal;
}

/* A handler must exist, or the kick would kill; without SA_RESTART, KVM_RUN returns. */
static void handle_kicks(void)
{
	const struct sigaction action = {.sa_handler = ignore_signal};

	(void)sigaction(KICK_SIGNAL, &action, NULL);
}

/* The thread of the vCPU clears it while the main thread may set it; KVM reads it. */
static void set_immediate_exit(struct vcpu *vcpu, uint8_t value)
{
	__atomic_store_n(&vcpu->run->immediate_exit, value, __ATOMIC_RELAXED);
}

static void crash(struct vcpu *vcpu, const char *text)
{
	vcpu->is_dead = true;
	vcpu->vcpus->end(vcpu->vcpus->opaque, VMM_END_CRASHED, text);
}

static void do_pio(const struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size)
		bus_pio(vcpu->vcpus->bus, run->io.port, run->io.direction == KVM_EXIT_IO_OUT,
			run->io.size, data);
}

/* False: this vCPU cannot go on. */
static bool handle_exit(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	char text[120];

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		do_pio(vcpu);
		return true;
	case KVM_EXIT_MMIO:
		/* There is no MMIO device: reads see an empty bus. */
		if (!run->mmio.is_write)
			memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
		return true;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		return true;
	case KVM_EXIT_SHUTDOWN:
		crash(vcpu, "triple fault");
		return false;
	case KVM_EXIT_SYSTEM_EVENT:
		/* KVM_SYSTEM_EVENT_SEV_TERM: GHCB specification 2.3.1, "termination request". */
		(void)snprintf(text, sizeof(text),
			       "vCPU %u: system event %u, first data 0x%llx (of SEV-ES: the guest "
			       "asked to be terminated)",
			       vcpu->index, run->system_event.type,
			       (unsigned long long)run->system_event.data[0]);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		(void)snprintf(text, sizeof(text),
			       "vCPU %u: the CPU refused to enter the guest, reason 0x%llx",
			       vcpu->index,
			       (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		(void)snprintf(text, sizeof(text), "vCPU %u: KVM internal error, suberror %u",
			       vcpu->index, run->internal.suberror);
		break;
	default:
		(void)snprintf(text, sizeof(text), "vCPU %u: exit reason %u is not handled",
			       vcpu->index, run->exit_reason);
		break;
	}
	crash(vcpu, text);
	return false;
}

/* Run the guest until the thread is told to leave it, or cannot go on. */
static void run_guest(struct vcpu *vcpu)
{
	struct vcpus *vcpus = vcpu->vcpus;

	for (;;) {
		int r = kvm_vcpu_run(vcpu->fd);

		if (r == -EINTR && atomic_load_explicit(&vcpus->leave, memory_order_acquire))
			return;
		if (r == -EINTR || r == -EAGAIN)
			continue;
		if (r < 0) {
			char text[80];

			(void)snprintf(text, sizeof(text), "vCPU %u: KVM_RUN failed: %s",
				       vcpu->index, strerrordesc_np(-r));
			crash(vcpu, text);
			return;
		}
		if (!handle_exit(vcpu))
			return;
		/* For a rescue; see vmrelay/rescue.h. */
		vcpu->run->exit_reason = KVM_EXIT_UNKNOWN;
	}
}

/* Wait for something to do, and return what. */
static enum mode next_mode(struct vcpu *vcpu)
{
	struct vcpus *vcpus = vcpu->vcpus;
	enum mode mode;

	(void)pthread_mutex_lock(&vcpus->lock);
	vcpus->n_idle++;
	(void)pthread_cond_signal(&vcpus->idle_changed);
	while (vcpus->mode == MODE_WAIT || (vcpus->mode == MODE_SAVE && vcpu->is_saved) ||
	       (vcpus->mode == MODE_RUN && vcpu->is_dead))
		(void)pthread_cond_wait(&vcpus->mode_changed, &vcpus->lock);
	vcpus->n_idle--;
	mode = vcpus->mode;
	vcpu->is_saved = mode == MODE_SAVE;
	if (mode == MODE_RUN)
		set_immediate_exit(vcpu, 0);
	(void)pthread_mutex_unlock(&vcpus->lock);
	return mode;
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;
	struct vcpus *vcpus = vcpu->vcpus;

	if (vcpus->target && vmr_target_load_vcpu(vcpus->target, vcpu->index) == VMR_ENTER)
		run_guest(vcpu);
	for (;;) {
		switch (next_mode(vcpu)) {
		case MODE_RUN:
			run_guest(vcpu);
			break;
		case MODE_SAVE:
			vmr_source_save_vcpu(vcpus->source, vcpu->index);
			break;
		case MODE_WAIT:
		case MODE_QUIT:
			return NULL;
		}
	}
}

static void set_mode(struct vcpus *vcpus, enum mode mode, struct vmr_source *source)
{
	(void)pthread_mutex_lock(&vcpus->lock);
	vcpus->mode = mode;
	vcpus->source = source;
	for (unsigned i = 0; mode == MODE_SAVE && i < vcpus->n; i++)
		vcpus->vcpu[i].is_saved = false;
	atomic_store_explicit(&vcpus->leave, mode != MODE_RUN, memory_order_release);
	if (vcpus->n_idle > 0)
		(void)pthread_cond_broadcast(&vcpus->mode_changed);
	(void)pthread_mutex_unlock(&vcpus->lock);

	/* Not under the lock, which is the first thing that a thread out of the guest asks for. */
	for (unsigned i = 0; mode != MODE_RUN && i < vcpus->n; i++) {
		/* First the flag, then the signal: a thread on its way into KVM_RUN sees the flag.
		 */
		set_immediate_exit(&vcpus->vcpu[i], 1);
		(void)pthread_kill(vcpus->vcpu[i].thread, KICK_SIGNAL);
	}
}

int vcpus_start(struct vmr_vm *vm, const struct bus *bus, struct vmr_target *target,
		vcpus_end_fn *end, void *opaque, struct vcpus **ret)
{
	unsigned n = vmr_vm_n_vcpus(vm);
	struct vcpus *vcpus = calloc(1, sizeof(*vcpus) + n * sizeof(vcpus->vcpu[0]));
	sigset_t all, old;

	if (!vcpus)
		return -ENOMEM;
	vcpus->bus = bus;
	vcpus->target = target;
	vcpus->end = end;
	vcpus->opaque = opaque;
	(void)pthread_mutex_init(&vcpus->lock, NULL);
	(void)pthread_cond_init(&vcpus->mode_changed, NULL);
	(void)pthread_cond_init(&vcpus->idle_changed, NULL);
	handle_kicks();

	/* The threads take the kick only; all other signals are the main thread's. */
	(void)sigfillset(&all);
	(void)sigdelset(&all, KICK_SIGNAL);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	for (unsigned i = 0; i < n; i++) {
		struct vcpu *vcpu = &vcpus->vcpu[i];

		*vcpu = (struct vcpu){
			.vcpus = vcpus,
			.index = i,
			.fd = vmr_vm_vcpu_fd(vm, i),
			.run = vmr_vm_vcpu_run(vm, i),
		};

		int r = pthread_create(&vcpu->thread, NULL, vcpu_thread, vcpu);

		if (r != 0) {
			(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
			/* With a target, threads wait for a relay that its owner calls off. */
			if (!target)
				(void)vcpus_free(vcpus);
			return -r;
		}
		vcpus->n++;
	}
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	*ret = vcpus;
	return 0;
}

struct vcpus *vcpus_free(struct vcpus *vcpus)
{
	if (!vcpus)
		return NULL;
	set_mode(vcpus, MODE_QUIT, NULL);
	for (unsigned i = 0; i < vcpus->n; i++)
		(void)pthread_join(vcpus->vcpu[i].thread, NULL);
	(void)pthread_cond_destroy(&vcpus->mode_changed);
	(void)pthread_cond_destroy(&vcpus->idle_changed);
	(void)pthread_mutex_destroy(&vcpus->lock);
	free(vcpus);
	return NULL;
}

void vcpus_run(struct vcpus *vcpus)
{
	set_mode(vcpus, MODE_RUN, NULL);
}

void vcpus_pause(struct vcpus *vcpus)
{
	set_mode(vcpus, MODE_WAIT, NULL);
	vcpus_wait(vcpus);
}

void vcpus_save(struct vcpus *vcpus, struct vmr_source *source)
{
	set_mode(vcpus, MODE_SAVE, source);
}

void vcpus_wait(struct vcpus *vcpus)
{
	(void)pthread_mutex_lock(&vcpus->lock);
	while (vcpus->n_idle < vcpus->n)
		(void)pthread_cond_wait(&vcpus->idle_changed, &vcpus->lock);
	(void)pthread_mutex_unlock(&vcpus->lock);
}
