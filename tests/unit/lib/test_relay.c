// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A complete relay on a real KVM, by two VMMs of a few lines that use the public interface only.
 *
 * How to use the library is in the first half of this file: struct vmm is a VMM with vCPU threads
 * and one device, source_relay() is how it hands its guest over, target_main() how another process
 * takes it.  The tests follow.
 *
 * The guest: every vCPU counts in a register and in memory and looks whether the two agree; after
 * every step it writes the count's low byte to an I/O port.  vCPU 0 writes to an ioeventfd and
 * takes interrupts, the others write to the VMM's device, which checks that no byte is lost or
 * doubled.
 */
#include <vmrelay/vmrelay.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#include "util.h"

#define VCPUS	  2U
#define RAM_SIZE  0x10000U
#define PORT_BELL 0x510 /* ioeventfd */
#define PORT_DEV  0x520 /* the VMM's device */

/* Where things are in guest memory. */
#define CODE	0x1000U
#define HANDLER 0x1100U /* of interrupt n: 0x20 bytes each */
#define COUNTER 0x2000U /* of vCPU n: 8 bytes, the count and the errors */
#define IRQS	0x3000U /* taken of interrupt n: 4 bytes each */
#define STACK	0x8000U

static const uint32_t irqs[] = {3, 5, 7};
#define N_IRQS 3U

/* Numbers of this VMM: a section, a blob and a tag. */
#define SECTION_DEVICE	 0x8001
#define SECTION_OPTIONAL 0x8002
#define BLOB_CONFIG	 0x9001
#define TAG_DISK	 7

/*
 * The VMM.
 */

enum order { ORDER_NONE, ORDER_RUN, ORDER_SAVE, ORDER_QUIT };

struct vmm;

struct vcpu {
	struct vmm *vmm;
	unsigned index;
	unsigned n_orders; /* followed */
	pthread_t thread;
};

struct device {
	uint64_t n_writes;
	uint64_t n_errors;
};

struct vmm {
	int kvm_fd;
	struct vmr_vm *vm;
	struct vcpu vcpu[VCPUS];
	unsigned n_threads;
	struct device device; /* used by the thread of vCPU 1, or when no vCPU runs */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum order order;
	unsigned n_orders;
	unsigned n_waiting; /* threads that wait for the next order */
	_Atomic bool leave; /* the guest is to be left */

	struct vmr_source *source; /* for ORDER_SAVE */
	struct vmr_target *target; /* for new threads */

	/* What this process has of its own: not used in a target. */
	int memory_fd, irq_fd[N_IRQS], bell_fd;
	void *ram;
};

static void do_io(struct vmm *vmm, const struct kvm_run *run)
{
	const uint8_t *data = (const uint8_t *)run + run->io.data_offset;

	if (run->io.port != PORT_DEV)
		return;
	vmm->device.n_writes++;
	vmm->device.n_errors += *data != (uint8_t)vmm->device.n_writes;
}

static void run_guest(struct vcpu *vcpu)
{
	struct vmr_vm *vm = vcpu->vmm->vm;
	const struct kvm_run *run = vmr_vm_vcpu_run(vm, vcpu->index);

	for (;;) {
		if (ioctl(vmr_vm_vcpu_fd(vm, vcpu->index), KVM_RUN, 0) == 0) {
			if (run->exit_reason == KVM_EXIT_IO)
				do_io(vcpu->vmm, run);
			else
				abort();
			continue;
		}
		/* With immediate_exit, this is also the end of the last exit's completion. */
		if (errno == EINTR && atomic_load(&vcpu->vmm->leave))
			return;
		if (errno != EINTR && errno != EAGAIN)
			abort();
	}
}

static enum order next_order(struct vcpu *vcpu)
{
	struct vmm *vmm = vcpu->vmm;
	enum order order;

	(void)pthread_mutex_lock(&vmm->lock);
	vmm->n_waiting++;
	(void)pthread_cond_broadcast(&vmm->changed);
	while (vcpu->n_orders == vmm->n_orders)
		(void)pthread_cond_wait(&vmm->changed, &vmm->lock);
	vmm->n_waiting--;
	vcpu->n_orders = vmm->n_orders;
	order = vmm->order;
	(void)pthread_mutex_unlock(&vmm->lock);
	return order;
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;
	struct vmm *vmm = vcpu->vmm;

	if (vmm->target && vmr_target_load_vcpu(vmm->target, vcpu->index) == VMR_ENTER)
		run_guest(vcpu);
	for (;;) {
		switch (next_order(vcpu)) {
		case ORDER_RUN:
			run_guest(vcpu);
			break;
		case ORDER_SAVE:
			vmr_source_save_vcpu(vmm->source, vcpu->index);
			break;
		case ORDER_NONE:
		case ORDER_QUIT:
			return NULL;
		}
	}
}

static void give_order(struct vmm *vmm, enum order order)
{
	(void)pthread_mutex_lock(&vmm->lock);
	vmm->order = order;
	vmm->n_orders++;
	atomic_store(&vmm->leave, order != ORDER_RUN);
	for (unsigned i = 0; i < vmm->n_threads; i++) {
		/* First the flag, then the signal, for a thread that is about to call KVM_RUN. */
		vmr_vm_vcpu_run(vmm->vm, i)->immediate_exit = order != ORDER_RUN;
		if (order != ORDER_RUN)
			(void)pthread_kill(vmm->vcpu[i].thread, SIGUSR1);
	}
	(void)pthread_cond_broadcast(&vmm->changed);
	(void)pthread_mutex_unlock(&vmm->lock);
}

/* Until no vCPU thread is in the guest or in the library. */
static void await_threads(struct vmm *vmm)
{
	(void)pthread_mutex_lock(&vmm->lock);
	while (vmm->n_waiting < vmm->n_threads)
		(void)pthread_cond_wait(&vmm->changed, &vmm->lock);
	(void)pthread_mutex_unlock(&vmm->lock);
}

static void start_threads(struct vmm *vmm)
{
	(void)pthread_mutex_lock(&vmm->lock);
	for (unsigned i = 0; i < VCPUS; i++) {
		vmm->vcpu[i] = (struct vcpu){.vmm = vmm, .index = i};
		if (pthread_create(&vmm->vcpu[i].thread, NULL, vcpu_thread, &vmm->vcpu[i]) != 0)
			abort();
		vmm->n_threads++;
	}
	(void)pthread_mutex_unlock(&vmm->lock);
}

static void vmm_init(struct vmm *vmm)
{
	*vmm = (struct vmm){.kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC),
			    .lock = PTHREAD_MUTEX_INITIALIZER,
			    .changed = PTHREAD_COND_INITIALIZER,
			    .memory_fd = -1,
			    .bell_fd = -1,
			    .irq_fd = {-1, -1, -1}};
}

/* The guest ends here, or lives on in another process. */
static void vmm_free_vm(struct vmm *vmm)
{
	give_order(vmm, ORDER_QUIT);
	for (unsigned i = 0; i < vmm->n_threads; i++)
		(void)pthread_join(vmm->vcpu[i].thread, NULL);
	vmm->n_threads = 0;
	vmm->vm = vmr_vm_free(vmm->vm);
}

static void close_if_open(int fd)
{
	if (fd >= 0)
		(void)close(fd);
}

static void vmm_done(struct vmm *vmm)
{
	vmm_free_vm(vmm);
	if (vmm->ram)
		(void)munmap(vmm->ram, RAM_SIZE);
	close_if_open(vmm->memory_fd);
	close_if_open(vmm->bell_fd);
	for (unsigned i = 0; i < N_IRQS; i++)
		close_if_open(vmm->irq_fd[i]);
	close_if_open(vmm->kvm_fd);
}

/*
 * A new guest: all calls that configure the VM go through the library.
 */

static void check(bool ok, const struct vmr_error *error)
{
	if (!ok) {
		print_error("%s\n", error->text);
		abort();
	}
}

static void load_guest(uint8_t *ram)
{
	static const uint8_t loop[] = {
		0x66, 0x3b, 0x07,	/* loop: cmp (%bx), %eax */
		0x75, 0x08,		/*	jne bad */
		0x66, 0x40,		/* next: inc %eax */
		0x66, 0x89, 0x07,	/*	mov %eax, (%bx) */
		0xee,			/*	out %al, (%dx) */
		0xeb, 0xf3,		/*	jmp loop */
		0x66, 0xff, 0x47, 0x04, /* bad:	incl 4(%bx) */
		0x66, 0x8b, 0x07,	/*	mov (%bx), %eax */
		0xeb, 0xef,		/*	jmp next */
	};

	memcpy(ram + CODE, loop, sizeof(loop));
	for (unsigned i = 0; i < 8; i++) {
		const uint8_t handler[] = {
			0x50,				    /* push %ax */
			0x66, 0xff, 0x06, 4 * i, IRQS >> 8, /* incl IRQS + 4 * i */
			0xb0, 0x20, 0xe6, 0x20,		    /* end of interrupt to the PIC */
			0x58, 0xcf,			    /* pop %ax; iret */
		};
		const uint16_t vector[2] = {(uint16_t)(HANDLER + 0x20 * i), 0};

		memcpy(ram + HANDLER + 0x20 * i, handler, sizeof(handler));
		memcpy(ram + 4 * (0x20 + i), vector, sizeof(vector));
	}
}

static void reset_vcpu(const struct vmr_vm *vm, unsigned index)
{
	const struct kvm_mp_state runnable = {KVM_MP_STATE_RUNNABLE};
	const struct kvm_regs regs = {
		.rip = CODE,
		.rbx = COUNTER + 8 * index,
		.rdx = index == 0 ? PORT_BELL : PORT_DEV,
		.rsp = STACK,
		.rflags = index == 0 ? 0x202 : 2,
	};
	int fd = vmr_vm_vcpu_fd(vm, index);
	struct kvm_sregs sregs;

	if (ioctl(fd, KVM_GET_SREGS, &sregs) < 0)
		abort();
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	if (ioctl(fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(fd, KVM_SET_REGS, &regs) < 0 ||
	    ioctl(fd, KVM_SET_MP_STATE, &runnable) < 0)
		abort();
}

static void set_pic(const struct vmr_vm *vm)
{
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_PIC_MASTER};

	if (ioctl(vmr_vm_fd(vm), KVM_GET_IRQCHIP, &chip) < 0)
		abort();
	chip.chip.pic.irq_base = 0x20;
	if (ioctl(vmr_vm_fd(vm), KVM_SET_IRQCHIP, &chip) < 0)
		abort();
}

static void create_guest(struct vmm *vmm)
{
	struct vmr_error error;
	struct vmr_vm *vm;
	struct kvm_cpuid2 *cpuid;

	check(vmr_vm_create(vmm->kvm_fd, 0, &vmm->vm, &error) == 0, &error);
	vm = vmm->vm;
	check(vmr_vm_set_tss_addr(vm, 0xfffbd000, &error) == 0, &error);
	check(vmr_vm_create_irqchip(vm, &error) == 0, &error);

	vmm->memory_fd = vmr_memory_create(VMR_MEMORY_MEMFD, NULL, RAM_SIZE, &error);
	check(vmm->memory_fd >= 0, &error);
	check(vmr_memory_map(vmm->memory_fd, 0, RAM_SIZE, &vmm->ram, &error) == 0, &error);

	const struct vmr_memory_slot slot = {
		.size = RAM_SIZE, .fd = vmm->memory_fd, .hva = vmm->ram};

	check(vmr_vm_set_memory(vm, &slot, &error) == 0, &error);
	for (unsigned i = 0; i < N_IRQS; i++) {
		vmm->irq_fd[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		check(vmr_vm_add_irqfd(vm, vmm->irq_fd[i], irqs[i], -1, &error) == 0, &error);
	}
	vmm->bell_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	const struct kvm_ioeventfd bell = {
		.addr = PORT_BELL, .len = 1, .fd = vmm->bell_fd, .flags = KVM_IOEVENTFD_FLAG_PIO};

	check(vmr_vm_add_ioeventfd(vm, &bell, &error) == 0, &error);

	cpuid = calloc(1, sizeof(*cpuid) + 256 * sizeof(cpuid->entries[0]));
	cpuid->nent = 256;
	if (ioctl(vmm->kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) < 0)
		abort();
	for (unsigned i = 0; i < VCPUS; i++) {
		unsigned index;

		check(vmr_vm_create_vcpu(vm, i, &index, &error) == 0, &error);
		check(vmr_vcpu_set_cpuid(vm, index, cpuid, &error) == 0, &error);
	}
	check(vmr_vm_complete(vm, &error) == 0, &error);

	load_guest(vmm->ram);
	set_pic(vm);
	for (unsigned i = 0; i < VCPUS; i++)
		reset_vcpu(vm, i);
	free(cpuid);
}

/*
 * The source.
 */

static void kick(void *opaque)
{
	give_order(opaque, ORDER_SAVE);
}

struct source_plan {
	struct vmr_source_config config; /* sections, paused, check_only, max_downtime_ms */
	void (*at_ready)(struct vmm *vmm);
	int fds[250]; /* that the VMM adds */
	unsigned n_fds;
	bool no_kick;
};

/*
 * Hand the guest to the process at the other end of sock.  The main loop of a real VMM has other
 * things to do meanwhile; this one only waits.
 */
static enum vmr_outcome source_relay(struct vmm *vmm, struct source_plan *plan,
				     struct vmr_times *ret_times, struct vmr_error *ret_error)
{
	enum vmr_outcome outcome = VMR_OUTCOME_REFUSED;
	bool is_ready = false;
	int r;

	plan->config.version = "source 1.0";
	if (!plan->config.kick)
		plan->config.kick = kick;
	plan->config.opaque = vmm;
	if (vmr_source_new(vmm->vm, &plan->config, &vmm->source, ret_error) < 0)
		return VMR_OUTCOME_REFUSED;

	do {
		struct pollfd p = {.fd = vmr_source_fd(vmm->source), .events = POLLIN};

		if (poll(&p, 1, 10000) == 0) {
			(void)snprintf(ret_error->text, sizeof(ret_error->text), "silence");
			break;
		}
		r = vmr_source_dispatch(vmm->source, ret_error);
		if (r == VMR_SOURCE_HELLO) {
			for (unsigned i = 0; i < plan->n_fds; i++)
				if (vmr_source_add_fd(vmm->source, TAG_DISK, plan->fds[i]) < 0)
					abort();
			if (vmr_source_add_blob(vmm->source, BLOB_CONFIG, "config", 7) < 0)
				abort();
			r = vmr_source_offer(vmm->source, ret_error);
		}
		is_ready = r == VMR_SOURCE_READY;
	} while (r >= 0 && !is_ready);

	if (is_ready) {
		if (plan->at_ready)
			plan->at_ready(vmm);
		if (plan->config.check_only)
			outcome = VMR_OUTCOME_DONE;
		else
			outcome = vmr_source_stop(vmm->source, ret_error);
	}
	vmr_source_times(vmm->source, ret_times);

	/* Threads may still be in vmr_source_save_vcpu(). */
	if (outcome != VMR_OUTCOME_REFUSED && !plan->config.check_only && !plan->no_kick)
		await_threads(vmm);
	vmm->source = vmr_source_free(vmm->source);
	if (outcome == VMR_OUTCOME_KEPT)
		give_order(vmm, ORDER_RUN);
	else if (outcome == VMR_OUTCOME_DONE && !plan->config.check_only)
		vmm_free_vm(vmm);
	return outcome;
}

/*
 * The target: a process that was started for this.
 */

/* What the tests want of the target, and what it tells them; in memory that all share. */
struct report {
	_Atomic bool resume, stop; /* orders */
	_Atomic bool is_done;	   /* the target has an outcome */
	enum vmr_outcome outcome;
	struct vmr_error error;
	char peer[64];
	unsigned n_fds, n_wrong_fds;
	bool has_config, was_paused;
	uint16_t version;     /* of the device's section */
	unsigned n_optional;  /* optional sections loaded */
	struct device device; /* when it ended */
};

struct target_plan {
	struct vmr_section sections[2];
	unsigned n_sections;
	unsigned timeout_ms;
};

static void target_main(int sock, const struct target_plan *plan, struct report *report)
{
	const struct vmr_target_config config = {
		.version = "target \x01 2.0", .sock = sock, .timeout_ms = plan->timeout_ms};
	struct vmr_section sections[2];
	struct vmr_error error = {.text = ""};
	struct vmm vmm;
	size_t len = 0;
	int r, fd;

	vmm_init(&vmm);
	memcpy(sections, plan->sections, sizeof(sections));
	for (unsigned i = 0; i < plan->n_sections; i++)
		sections[i].opaque = &vmm.device;

	r = vmr_target_new(&config, &vmm.target, &error);
	check(r == 0, &error);
	r = vmr_target_accept(vmm.target, sections, plan->n_sections, &error);
	if (r == 0) {
		const char *blob = vmr_target_blob(vmm.target, BLOB_CONFIG, &len);

		report->has_config = blob && len == 7 && strcmp(blob, "config") == 0;
		report->was_paused = vmr_target_paused(vmm.target);
		(void)snprintf(report->peer, sizeof(report->peer), "%s",
			       vmr_target_peer(vmm.target)->version);
		while ((fd = vmr_target_take_fd(vmm.target, TAG_DISK, report->n_fds)) >= 0) {
			report->n_wrong_fds += lseek(fd, 0, SEEK_END) != 1000 + report->n_fds++;
			(void)close(fd);
		}
		r = vmr_target_build(vmm.target, vmm.kvm_fd, &vmm.vm, &error);
	}
	if (r == 0) {
		start_threads(&vmm);
		r = vmr_target_ready(vmm.target, &error);
	}
	if (r < 0)
		vmr_target_refuse(vmm.target, &error);

	/* Also after a failed ready: it sends the threads home. */
	report->outcome =
		vmm.n_threads > 0 ? vmr_target_finish(vmm.target, &error) : VMR_OUTCOME_REFUSED;
	report->error = error;
	atomic_store(&report->is_done, true);

	/* From here on it is a VMM as any other. */
	while (report->outcome == VMR_OUTCOME_DONE && !atomic_load(&report->stop)) {
		if (atomic_exchange(&report->resume, false))
			give_order(&vmm, ORDER_RUN);
		(void)usleep(1000);
	}
	vmm_free_vm(&vmm);
	report->device = vmm.device;
	vmm.target = vmr_target_free(vmm.target);
	vmm_done(&vmm);
}

/*
 * The device as a section.
 */

static int save_device(void *opaque, uint16_t version, void *buf)
{
	(void)version;
	memcpy(buf, opaque, sizeof(struct device));
	return sizeof(struct device);
}

static struct report *report; /* where load functions leave word */

static int load_device(void *opaque, uint16_t version, const void *buf, size_t len)
{
	if (len != sizeof(struct device))
		return -EBADMSG;
	memcpy(opaque, buf, len);
	report->version = version;
	return 0;
}

static int save_nothing(void *opaque, uint16_t version, void *buf)
{
	(void)opaque, (void)version, (void)buf;
	return 0;
}

static int load_nothing(void *opaque, uint16_t version, const void *buf, size_t len)
{
	(void)opaque, (void)version, (void)buf;
	report->n_optional++;
	return len == 0 ? 0 : -EBADMSG;
}

static int fail_to_save(void *opaque, uint16_t version, void *buf)
{
	(void)opaque, (void)version, (void)buf;
	return -EIO;
}

static int save_too_much(void *opaque, uint16_t version, void *buf)
{
	(void)opaque, (void)version, (void)buf;
	return sizeof(struct device) + 1;
}

static int fail_to_load(void *opaque, uint16_t version, const void *buf, size_t len)
{
	(void)opaque, (void)version, (void)buf, (void)len;
	return -EILSEQ;
}

static int die_instead(void *opaque, uint16_t version, const void *buf, size_t len)
{
	(void)opaque, (void)version, (void)buf, (void)len;
	(void)kill(getpid(), SIGKILL);
	return 0;
}

static int hang_instead(void *opaque, uint16_t version, const void *buf, size_t len)
{
	(void)opaque, (void)version, (void)buf, (void)len;
	(void)sleep(60);
	return 0;
}

static const struct vmr_section device_section = {
	.name = "counter",
	.type = SECTION_DEVICE,
	.version = 1,
	.min_version = 1,
	.max_size = sizeof(struct device),
	.save = save_device,
	.load = load_device,
};

static const struct vmr_section optional_section = {
	.name = "extra",
	.type = SECTION_OPTIONAL,
	.version = 1,
	.min_version = 1,
	.optional = true,
	.max_size = 64,
	.save = save_nothing,
	.load = load_nothing,
};

/* A target that knows the device, and loads it so. */
typedef int load_fn(void *opaque, uint16_t version, const void *buf, size_t len);

static struct target_plan target_that(load_fn *load)
{
	struct target_plan plan = {
		.sections = {device_section}, .n_sections = 1, .timeout_ms = 10000};

	plan.sections[0].load = load;
	return plan;
}

/*
 * The tests.
 */

struct fixture {
	struct vmm vmm; /* the source */
	int sock[2];	/* the source's end, the target's end */
	pid_t pid;	/* of the target, or */
	pthread_t thread;
	bool has_thread;
	struct vmr_section sections[2];
	struct source_plan plan;
	struct vmr_error error;
	struct vmr_times times;
	unsigned n_open;
};

static void ignore_signal(int signal)
{
	(void)signal;
}

static int setup(void **state)
{
	const struct sigaction action = {.sa_handler = ignore_signal};
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	(void)sigaction(SIGUSR1, &action, NULL);
	report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	f.n_open = count_fds();
	if (report == MAP_FAILED ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, f.sock) < 0)
		return -1;
	f.sections[0] = device_section;
	f.sections[0].opaque = &f.vmm.device;
	f.plan.config = (struct vmr_source_config){
		.sections = f.sections, .n_sections = 1, .max_downtime_ms = 5000};
	*state = &f;
	return 0;
}

/*
 * The target process: runs `fn`, which gets the socket.  It is started before the source has
 * threads.
 */
static void start_target(struct fixture *f, void (*fn)(int sock, const struct target_plan *plan),
			 const struct target_plan *plan)
{
	(void)fflush(NULL);
	f->pid = fork();
	assert_int_not_equal(f->pid, -1);
	if (f->pid == 0) {
		(void)close(f->sock[0]);
		fn(f->sock[1], plan);
		exit(0);
	}
	(void)close(f->sock[1]);
	f->plan.config.sock = f->sock[0];
	f->plan.config.target_pidfd = (int)syscall(SYS_pidfd_open, f->pid, 0);
}

/* Without a plan: one that knows all sections. */
static void run_target(int sock, const struct target_plan *plan)
{
	const struct target_plan all = {.sections = {device_section, optional_section},
					.n_sections = 2,
					.timeout_ms = 10000};

	target_main(sock, plan ? plan : &all, report);
}

static uint32_t read_ram(const struct fixture *f, uint32_t gpa)
{
	return atomic_load((_Atomic uint32_t *)(void *)((uint8_t *)f->vmm.ram + gpa));
}

static void start_guest(struct fixture *f)
{
	vmm_init(&f->vmm);
	create_guest(&f->vmm);
	start_threads(&f->vmm);
	give_order(&f->vmm, ORDER_RUN);
	for (unsigned i = 0; i < VCPUS; i++)
		while (read_ram(f, COUNTER + 8 * i) < 100)
			(void)usleep(1000);
}

/* Does it count on, on every vCPU, without ever having found an error? */
static void assert_alive(const struct fixture *f)
{
	for (unsigned i = 0; i < VCPUS; i++) {
		uint32_t before = read_ram(f, COUNTER + 8 * i);

		for (unsigned n = 0; n < 5000 && read_ram(f, COUNTER + 8 * i) - before < 10; n++)
			(void)usleep(1000);
		assert_in_range(read_ram(f, COUNTER + 8 * i) - before, 10, UINT32_MAX);
		assert_int_equal(read_ram(f, COUNTER + 8 * i + 4), 0);
	}
}

static void assert_still(const struct fixture *f)
{
	uint32_t count[VCPUS];

	for (unsigned i = 0; i < VCPUS; i++)
		count[i] = read_ram(f, COUNTER + 8 * i);
	(void)usleep(20000);
	for (unsigned i = 0; i < VCPUS; i++)
		assert_int_equal(read_ram(f, COUNTER + 8 * i), count[i]);
}

static void ring_irqs(const struct vmm *vmm)
{
	const uint64_t one = 1;

	for (unsigned i = 0; i < N_IRQS; i++)
		if (write(vmm->irq_fd[i], &one, sizeof(one)) != sizeof(one))
			abort();
}

/* Every interrupt was taken n times, and is not taken once more. */
static void assert_irqs(const struct fixture *f, uint32_t n)
{
	for (unsigned i = 0; i < N_IRQS; i++)
		for (unsigned k = 0; k < 10000 && read_ram(f, IRQS + 4 * irqs[i]) < n; k++)
			(void)usleep(1000);
	(void)usleep(20000);
	for (unsigned i = 0; i < N_IRQS; i++)
		if (read_ram(f, IRQS + 4 * irqs[i]) != n)
			fail_msg("interrupt %u was taken %u times, not %u", irqs[i],
				 read_ram(f, IRQS + 4 * irqs[i]), n);
}

static void assert_bell(const struct fixture *f)
{
	uint64_t n = 0;

	(void)!read(f->vmm.bell_fd, &n, sizeof(n));
	for (unsigned i = 0; i < 5000; i++) {
		if (read(f->vmm.bell_fd, &n, sizeof(n)) == sizeof(n))
			return;
		(void)usleep(1000);
	}
	fail_msg("the ioeventfd does not work any more");
}

static enum vmr_outcome relay(struct fixture *f)
{
	enum vmr_outcome outcome = source_relay(&f->vmm, &f->plan, &f->times, &f->error);

	if (outcome != VMR_OUTCOME_DONE)
		print_message("# %s\n", f->error.text);
	return outcome;
}

/*
 * Every byte that the guest wrote arrived once.  It may have stopped between counting and writing.
 */
static void assert_device(const struct fixture *f, const struct device *device)
{
	assert_int_equal(device->n_errors, 0);
	assert_in_range(read_ram(f, COUNTER + 8) - (uint32_t)device->n_writes, 0, 1);
}

/* The guest goes on in the source; after that it ends. */
static void end_in_source(struct fixture *f)
{
	assert_alive(f);
	assert_bell(f);

	uint32_t n = read_ram(f, IRQS + 4 * irqs[0]);

	ring_irqs(&f->vmm);
	assert_irqs(f, n + 1);
	vmm_free_vm(&f->vmm);
	assert_device(f, &f->vmm.device);
}

static void await_report(void)
{
	for (unsigned i = 0; i < 10000 && !atomic_load(&report->is_done); i++)
		(void)usleep(1000);
	assert_true(atomic_load(&report->is_done));
}

/* The guest goes on in the target; after that it ends. */
static void end_in_target(struct fixture *f)
{
	await_report();
	assert_int_equal(report->outcome, VMR_OUTCOME_DONE);
	assert_alive(f);
	assert_bell(f);

	uint32_t n = read_ram(f, IRQS + 4 * irqs[0]);

	ring_irqs(&f->vmm);
	assert_irqs(f, n + 1);
	atomic_store(&report->stop, true);
	if (f->pid > 0)
		assert_int_equal(wait_for(f->pid), 0);
	f->pid = 0;
	if (f->has_thread)
		assert_int_equal(pthread_join(f->thread, NULL), 0);
	f->has_thread = false;
	assert_device(f, &report->device);
}

static void assert_target_status(struct fixture *f, int status)
{
	assert_int_equal(wait_for(f->pid), status);
	f->pid = 0;
}

static void assert_text(const struct fixture *f, const char *text)
{
	if (!strstr(f->error.text, text))
		fail_msg("\"%s\" is not in \"%s\"", text, f->error.text);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	unsigned n;

	if (f->pid > 0) {
		(void)kill(f->pid, SIGKILL);
		(void)waitpid(f->pid, NULL, 0);
	}
	vmm_done(&f->vmm);
	for (unsigned i = 0; i < f->plan.n_fds; i++)
		(void)close(f->plan.fds[i]);
	(void)munmap(report, sizeof(*report));
	n = count_fds();
	if (n == f->n_open)
		return 0;
	print_error("%u fds open before the test, %u after\n", f->n_open, n);
	return -1;
}

/* Success. */

static void ring_and_kick(void *opaque)
{
	ring_irqs(opaque);
	kick(opaque);
}

static void test_relay(void **state)
{
	struct fixture *f = *state;

	start_target(f, run_target, NULL);
	start_guest(f);
	/* Events of a time at which neither VM has the eventfds. */
	f->plan.config.kick = ring_and_kick;
	f->sections[1] = optional_section;
	f->plan.config.n_sections = 2;
	for (unsigned i = 0; i < 250; i++) {
		f->plan.fds[i] = memfd_create("disk", MFD_CLOEXEC);
		assert_int_equal(ftruncate(f->plan.fds[i], 1000 + i), 0);
		f->plan.n_fds++;
	}
	assert_int_equal(relay(f), VMR_OUTCOME_DONE);
	await_report();
	assert_irqs(f, 1);
	assert_string_equal(report->peer, "source 1.0");
	assert_true(report->has_config);
	assert_false(report->was_paused);
	assert_int_equal(report->n_fds, 250);
	assert_int_equal(report->n_wrong_fds, 0);
	assert_int_equal(report->version, 1);
	assert_int_equal(report->n_optional, 1);
	end_in_target(f);
}

static void test_times(void **state)
{
	struct fixture *f = *state;
	const struct vmr_times *t = &f->times;

	start_target(f, run_target, NULL);
	start_guest(f);
	assert_int_equal(relay(f), VMR_OUTCOME_DONE);
	assert_true(t->begin > 0 && t->begin <= t->hello && t->hello <= t->ready);
	assert_true(t->ready <= t->stop && t->stop <= t->all_out && t->all_out <= t->all_saved);
	assert_true(t->all_saved <= t->all_loaded && t->all_loaded <= t->entered);
	assert_true(t->entered <= t->end);
	end_in_target(f);
}

/* Source and target as threads of one process, as a test of a VMM may have them. */

static void *target_thread(void *arg)
{
	run_target(*(int *)arg, NULL);
	return NULL;
}

static void test_one_process(void **state)
{
	struct fixture *f = *state;

	start_guest(f);
	assert_int_equal(pthread_create(&f->thread, NULL, target_thread, &f->sock[1]), 0);
	f->has_thread = true;
	f->plan.config.sock = f->sock[0];
	f->plan.config.target_pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	f->plan.config.kick = ring_and_kick;
	assert_int_equal(relay(f), VMR_OUTCOME_DONE);
	assert_irqs(f, 1);
	end_in_target(f);
}

static void test_paused(void **state)
{
	struct fixture *f = *state;

	start_target(f, run_target, NULL);
	start_guest(f);
	f->plan.config.paused = true;
	assert_int_equal(relay(f), VMR_OUTCOME_DONE);
	await_report();
	assert_true(report->was_paused);
	assert_still(f);
	atomic_store(&report->resume, true);
	end_in_target(f);
}

static void test_check_only(void **state)
{
	struct fixture *f = *state;

	start_target(f, run_target, NULL);
	start_guest(f);
	f->plan.config.check_only = true;
	assert_int_equal(relay(f), VMR_OUTCOME_DONE);
	assert_int_equal(f->times.stop, 0);
	assert_target_status(f, 0);
	assert_int_equal(report->outcome, VMR_OUTCOME_KEPT);
	end_in_source(f);
}

static void stop_all_the_same(struct vmm *vmm)
{
	struct vmr_error error;

	assert_int_equal(vmr_source_stop(vmm->source, &error), VMR_OUTCOME_REFUSED);
}

static void test_check_only_cannot_stop(void **state)
{
	struct fixture *f = *state;

	start_target(f, run_target, NULL);
	start_guest(f);
	f->plan.config.check_only = true;
	f->plan.at_ready = stop_all_the_same;
	assert_int_equal(relay(f), VMR_OUTCOME_DONE);
	end_in_source(f);
}

/* What the two know of sections. */

static void test_optional_section_dropped(void **state)
{
	const struct target_plan older = target_that(load_device);
	struct fixture *f = *state;

	start_target(f, run_target, &older);
	start_guest(f);
	/* Not even asked to be saved. */
	f->sections[1] = optional_section;
	f->sections[1].save = fail_to_save;
	f->plan.config.n_sections = 2;
	assert_int_equal(relay(f), VMR_OUTCOME_DONE);
	end_in_target(f);
	assert_int_equal(report->n_optional, 0);
}

static void test_mandatory_section_refused(void **state)
{
	const struct target_plan older = {
		.sections = {optional_section}, .n_sections = 1, .timeout_ms = 10000};
	struct fixture *f = *state;

	start_target(f, run_target, &older);
	start_guest(f);
	assert_int_equal(relay(f), VMR_OUTCOME_REFUSED);
	assert_string_equal(f->error.text,
			    "the target cannot read the guest's counter state (type 0x8001)");
	assert_int_equal(f->error.code, -ENOTSUP);
	assert_int_equal(f->times.stop, 0);
	assert_target_status(f, 0);
	assert_int_equal(report->outcome, VMR_OUTCOME_REFUSED);
	assert_string_equal(report->error.text, "the source called the upgrade off");
	end_in_source(f);
}

static void negotiate(struct fixture *f, uint16_t source_min, uint16_t source_max,
		      uint16_t target_min, uint16_t target_max, uint16_t expected)
{
	struct target_plan target = target_that(load_device);

	target.sections[0].min_version = target_min;
	target.sections[0].version = target_max;
	start_target(f, run_target, &target);
	start_guest(f);
	f->sections[0].min_version = source_min;
	f->sections[0].version = source_max;
	if (expected == 0) {
		assert_int_equal(relay(f), VMR_OUTCOME_REFUSED);
		assert_text(f, "cannot read the guest's counter state");
		end_in_source(f);
	} else {
		assert_int_equal(relay(f), VMR_OUTCOME_DONE);
		end_in_target(f);
		assert_int_equal(report->version, expected);
	}
}

static void test_older_target(void **state)
{
	negotiate(*state, 1, 3, 1, 2, 2);
}

static void test_newer_target(void **state)
{
	negotiate(*state, 1, 2, 2, 9, 2);
}

static void test_too_old_target(void **state)
{
	negotiate(*state, 2, 3, 1, 1, 0);
}

static void test_too_new_target(void **state)
{
	negotiate(*state, 1, 2, 3, 4, 0);
}

/* Failures after the stop: the guest goes on in the source. */

static void test_save_fails(void **state)
{
	struct fixture *f = *state;

	start_target(f, run_target, NULL);
	start_guest(f);
	f->sections[0].save = fail_to_save;
	assert_int_equal(relay(f), VMR_OUTCOME_KEPT);
	assert_string_equal(f->error.text, "saving the counter state failed: Input/output error");
	end_in_source(f);
}

static void test_save_writes_too_much(void **state)
{
	struct fixture *f = *state;

	start_target(f, run_target, NULL);
	start_guest(f);
	f->sections[0].save = save_too_much;
	assert_int_equal(relay(f), VMR_OUTCOME_KEPT);
	end_in_source(f);
}

static void keep_with_target(struct fixture *f, load_fn *load, const char *text)
{
	const struct target_plan target = target_that(load);

	start_target(f, run_target, &target);
	start_guest(f);
	f->plan.config.kick = ring_and_kick;
	assert_int_equal(relay(f), VMR_OUTCOME_KEPT);
	assert_text(f, text);
	assert_irqs(f, 1);
	end_in_source(f);
}

static void test_load_fails(void **state)
{
	keep_with_target(*state, fail_to_load,
			 "the target says: loading the device state of type 0x8001 failed");
}

static void test_target_dies_while_loading(void **state)
{
	keep_with_target(*state, die_instead, "before it ran the guest");
}

static void test_target_is_too_slow(void **state)
{
	struct fixture *f = *state;

	f->plan.config.max_downtime_ms = 100;
	keep_with_target(f, hang_instead, "the target did not run the guest within 100 ms");
	/* It could have run the guest later: it was killed. */
	assert_target_status(f, 128 + SIGKILL);
	assert_in_range(f->times.end - f->times.stop, 100000000, 3000000000);
}

static void do_nothing(void *opaque)
{
	(void)opaque;
}

static void test_vcpu_does_not_come_out(void **state)
{
	struct fixture *f = *state;

	start_target(f, run_target, NULL);
	start_guest(f);
	f->plan.config.kick = do_nothing;
	f->plan.config.max_downtime_ms = 50;
	f->plan.no_kick = true;
	assert_int_equal(relay(f), VMR_OUTCOME_KEPT);
	assert_string_equal(f->error.text, "a vCPU did not leave the guest within 50 ms");
	end_in_source(f);
}

/* After a relay that failed, another one succeeds. */
static void test_second_try(void **state)
{
	const struct target_plan bad = target_that(fail_to_load);
	struct fixture *f = *state;
	int sock[2];
	pid_t first;

	start_target(f, run_target, &bad);
	first = f->pid;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock), 0);

	struct source_plan plan = f->plan;

	f->sock[0] = sock[0];
	f->sock[1] = sock[1];
	start_target(f, run_target, NULL);

	struct source_plan second = f->plan;

	start_guest(f);
	f->plan = plan;
	assert_int_equal(relay(f), VMR_OUTCOME_KEPT);
	assert_alive(f);
	(void)wait_for(first);
	atomic_store(&report->is_done, false);
	f->plan = second;
	f->plan.config.kick = ring_and_kick;
	assert_int_equal(relay(f), VMR_OUTCOME_DONE);
	assert_irqs(f, 1);
	end_in_target(f);
}

/* Targets that are no good. */

static void exit_at_once(int sock, const struct target_plan *plan)
{
	(void)sock, (void)plan;
}

static void test_target_exits(void **state)
{
	struct fixture *f = *state;

	start_target(f, exit_at_once, NULL);
	start_guest(f);
	assert_int_equal(relay(f), VMR_OUTCOME_REFUSED);
	assert_text(f, "the new VMM ended before it said hello");
	end_in_source(f);
}

/* The process that was started has another one say hello for it. */
static void send_a_stranger(int sock, const struct target_plan *plan)
{
	pid_t pid = fork();

	if (pid == 0) {
		run_target(sock, plan);
		_exit(0);
	}
	(void)close(sock);
	(void)waitpid(pid, NULL, 0);
}

static void test_target_is_a_stranger(void **state)
{
	struct fixture *f = *state;

	start_target(f, send_a_stranger, NULL);
	start_guest(f);
	assert_int_equal(relay(f), VMR_OUTCOME_REFUSED);
	assert_text(f, "says hello and is not the target that was started");
	end_in_source(f);
}

static void send_garbage(int sock, const struct target_plan *plan)
{
	(void)plan;
	(void)send(sock, "GET / HTTP/1.0\r\n\r\n", 18, MSG_NOSIGNAL);
	(void)sleep(60);
}

static void test_target_sends_garbage(void **state)
{
	struct fixture *f = *state;

	start_target(f, send_garbage, NULL);
	start_guest(f);
	assert_int_equal(relay(f), VMR_OUTCOME_REFUSED);
	assert_text(f, "something that is no relay message");
	assert_int_equal(f->error.code, -EBADMSG);
	end_in_source(f);
}

static void kill_target(struct vmm *vmm)
{
	struct fixture *f = (struct fixture *)((char *)vmm - offsetof(struct fixture, vmm));

	(void)kill(f->pid, SIGKILL);
}

static void test_target_dies_when_ready(void **state)
{
	struct fixture *f = *state;

	start_target(f, run_target, NULL);
	start_guest(f);
	f->plan.at_ready = kill_target;
	f->plan.config.kick = ring_and_kick;
	assert_int_equal(relay(f), VMR_OUTCOME_KEPT);
	assert_irqs(f, 1);
	end_in_source(f);
}

/* A target that waits for ever before the stop costs nothing: the VMM calls the relay off. */
static void test_source_calls_off(void **state)
{
	struct fixture *f = *state;

	start_target(f, run_target, NULL);
	start_guest(f);
	f->plan.config.version = "source 1.0";
	f->plan.config.kick = kick;
	assert_int_equal(vmr_source_new(f->vmm.vm, &f->plan.config, &f->vmm.source, &f->error), 0);
	f->vmm.source = vmr_source_free(f->vmm.source);
	assert_target_status(f, 0);
	assert_string_equal(report->error.text, "the source called the upgrade off");
	end_in_source(f);
}

/* The source goes away. */

static const char *target_fault; /* of the process that is started */

/*
 * An entry of the list acts once in a process, by its position: every test has its own, behind
 * empty ones.
 */
static unsigned n_faults;

static void set_fault(const char *fault)
{
	char list[100];

	assert_in_range(n_faults, 0, 31);
	memset(list, ',', n_faults);
	(void)snprintf(list + n_faults, sizeof(list) - n_faults, "%s", fault);
	if (setenv("VMRELAY_FAULT", list, 1) != 0)
		abort();
}

static void (*source_at_ready)(struct vmm *vmm); /* likewise */

/* The other way round: the child is the source, this process the target. */
static void be_source(int sock, const struct target_plan *plan)
{
	struct fixture f = {.plan = {.config = {.sock = sock, .max_downtime_ms = 5000}}};

	(void)plan;
	set_fault(target_fault);
	f.sections[0] = device_section;
	f.sections[0].opaque = &f.vmm.device;
	f.plan.config.sections = f.sections;
	f.plan.config.n_sections = 1;
	f.plan.config.target_pidfd = (int)syscall(SYS_pidfd_open, getppid(), 0);
	f.plan.at_ready = source_at_ready;
	start_guest(&f);
	(void)relay(&f);
}

static void test_source_dies_before_stop(void **state)
{
	struct fixture *f = *state;

	vmm_init(&f->vmm);
	n_faults++;
	target_fault = "source-ready:kill";
	start_target(f, be_source, NULL);
	(void)close(f->plan.config.target_pidfd);
	run_target(f->sock[0], NULL);
	assert_target_status(f, 128 + SIGKILL);
	assert_int_equal(report->outcome, VMR_OUTCOME_LOST);
	assert_string_equal(report->error.text,
			    "the source ended before the guest's state was complete");
}

/* A source that never answers. */
static void test_target_timeout(void **state)
{
	struct target_plan impatient = target_that(load_device);
	struct fixture *f = *state;

	impatient.timeout_ms = 30;
	vmm_init(&f->vmm);
	target_main(f->sock[1], &impatient, report);
	(void)close(f->sock[0]);
	assert_int_equal(report->outcome, VMR_OUTCOME_REFUSED);
	assert_string_equal(report->error.text, "the source did not answer in time");
}

/* What KVM would not let another process map. */
static void test_private_memory_refused(void **state)
{
	struct fixture *f = *state;

	start_target(f, run_target, NULL);
	start_guest(f);

	const struct vmr_memory_slot slot = {
		.slot = 1, .gpa = 0x100000, .size = RAM_SIZE, .fd = -1, .hva = f->vmm.ram};

	assert_int_equal(vmr_vm_set_memory(f->vmm.vm, &slot, &f->error), 0);
	assert_int_equal(relay(f), VMR_OUTCOME_REFUSED);
	assert_string_equal(f->error.text,
			    "guest memory is private to this process and cannot be shared");
	assert_target_status(f, 0);
	end_in_source(f);
}

/* A target enters its vCPUs before it has the guest: never with code to run. */
static void test_firmware_is_not_run(void **state)
{
	static const uint8_t code[] = {0xc6, 0x06, 0x00, 0x40, 0x01, /* movb $1, 0x4000 */
				       0xe6, 0x80};		     /* out %al, $0x80 */
	struct fixture *f = *state;
	int fd = vmr_memory_create(VMR_MEMORY_MEMFD, NULL, RAM_SIZE, &f->error);
	void *rom;

	assert_int_equal(vmr_memory_map(fd, 0, RAM_SIZE, &rom, &f->error), 0);
	memcpy((uint8_t *)rom + 0xfff0, code, sizeof(code));
	start_target(f, run_target, NULL);
	start_guest(f);

	const struct vmr_memory_slot slot = {
		.slot = 1, .gpa = 0xffff0000, .size = RAM_SIZE, .fd = fd, .hva = rom};

	assert_int_equal(vmr_vm_set_memory(f->vmm.vm, &slot, &f->error), 0);
	assert_int_equal(relay(f), VMR_OUTCOME_DONE);
	assert_int_equal(read_ram(f, 0x4000), 0);
	end_in_target(f);
	(void)munmap(rom, RAM_SIZE);
	(void)close(fd);
}

/* A message as the library sends it, without what it should mean. */
static void lie(int sock, uint16_t type)
{
	const struct {
		uint32_t magic;
		uint16_t type, n_fds;
		uint32_t len, reserved;
	} message = {.magic = 0x4d524c59, .type = type};

	(void)send(sock, &message, sizeof(message), MSG_NOSIGNAL);
}

/* Says hello, and then this instead of whether it is ready. */
static uint16_t wrong_answer;

static void answer_wrongly(int sock, const struct target_plan *plan)
{
	const struct vmr_target_config config = {
		.version = "wrong", .sock = sock, .timeout_ms = 10000};
	struct vmr_target *target;
	struct vmr_error error;

	(void)plan;
	check(vmr_target_new(&config, &target, &error) == 0, &error);
	check(vmr_target_accept(target, &device_section, 1, &error) == 0, &error);
	lie(sock, wrong_answer);
	(void)sleep(60);
}

static void expect_out_of_turn(struct fixture *f, uint16_t type, const char *text)
{
	wrong_answer = type;
	start_target(f, answer_wrongly, NULL);
	start_guest(f);
	assert_int_equal(relay(f), VMR_OUTCOME_REFUSED);
	assert_int_equal(f->error.code, -EPROTO);
	assert_text(f, text);
	assert_int_equal(f->times.stop, 0);
	end_in_source(f);
}

static void test_target_is_early(void **state)
{
	expect_out_of_turn(*state, 6, "the target sent message 6 out of turn");
}

static void test_target_says_what_is_not_known(void **state)
{
	expect_out_of_turn(*state, 999, "the target sent message 999 out of turn");
}

/* An offer to nobody. */
static void test_offer_without_hello(void **state)
{
	struct fixture *f = *state;

	start_target(f, exit_at_once, NULL);
	start_guest(f);
	f->plan.config.version = "source 1.0";
	f->plan.config.kick = kick;
	assert_int_equal(vmr_source_new(f->vmm.vm, &f->plan.config, &f->vmm.source, &f->error), 0);
	assert_int_equal(vmr_source_offer(f->vmm.source, &f->error), -EINVAL);
	f->vmm.source = vmr_source_free(f->vmm.source);
	assert_target_status(f, 0);
	end_in_source(f);
}

/* A VMM with more sections than a hello has room for is told so, and the source waits for nobody.
 */
static void test_too_many_sections(void **state)
{
	static struct vmr_section sections[200];
	struct fixture *f = *state;
	const struct vmr_target_config config = {
		.version = "many", .sock = f->sock[1], .timeout_ms = 10000};
	struct vmr_target *target;
	char byte;

	vmm_init(&f->vmm);
	for (unsigned i = 0; i < 200; i++) {
		sections[i] = device_section;
		sections[i].type += i;
	}
	assert_int_equal(vmr_target_new(&config, &target, &f->error), 0);
	assert_int_equal(vmr_target_accept(target, sections, 200, &f->error), -E2BIG);
	assert_null(vmr_target_free(target));
	assert_int_equal(recv(f->sock[0], &byte, 1, 0), 0);
	(void)close(f->sock[0]);
}

/* A source that does this when the target is ready; the target does not take the guest. */
static void expect_kept_from(struct fixture *f, void (*at_ready)(struct vmm *vmm), const char *text)
{
	vmm_init(&f->vmm);
	target_fault = "";
	source_at_ready = at_ready;
	start_target(f, be_source, NULL);
	source_at_ready = NULL;
	(void)close(f->plan.config.target_pidfd);
	run_target(f->sock[0], NULL);
	assert_int_equal(report->outcome, VMR_OUTCOME_KEPT);
	assert_string_equal(report->error.text, text);
}

static void say_hello(struct vmm *vmm)
{
	enum { HELLO = 1 };

	lie(vmr_source_fd(vmm->source), HELLO);
	(void)sleep(60);
}

/* It says something else than that it has stopped the guest: it may keep it. */
static void test_source_lies(void **state)
{
	expect_kept_from(*state, say_hello, "the source sent something that does not belong here");
	assert_int_equal(report->error.code, -EPROTO);
}

static void say_stopped(struct vmm *vmm)
{
	enum { STOPPED = 5 };

	lie(vmr_source_fd(vmm->source), STOPPED);
	(void)sleep(60);
}

/* It says so, and has written nothing: nobody waits for that. */
static void test_source_wrote_nothing(void **state)
{
	expect_kept_from(*state, say_stopped, "the state of the VM is malformed");
}

static int lying_sock;

static int load_and_lie(void *opaque, uint16_t version, const void *buf, size_t len)
{
	enum { ENTERED = 6 };

	(void)opaque, (void)version, (void)buf, (void)len;
	lie(lying_sock, ENTERED);
	(void)sleep(60);
	return 0;
}

static void run_liar(int sock, const struct target_plan *plan)
{
	lying_sock = sock;
	target_main(sock, plan, report);
}

/* A target that says that it runs the guest, when it does not own it. */
static void test_target_lies(void **state)
{
	const struct target_plan liar = target_that(load_and_lie);
	struct fixture *f = *state;

	start_target(f, run_liar, &liar);
	start_guest(f);
	assert_int_equal(relay(f), VMR_OUTCOME_KEPT);
	end_in_source(f);
}

/*
 * Both sides fail or die at every step that has a name (lib/fault.h): whoever is left runs the
 * guest, and no interrupt is lost.
 */

static void run_faulty_target(int sock, const struct target_plan *plan)
{
	set_fault(target_fault);
	run_target(sock, plan);
}

static void relay_with_fault(struct fixture *f, const char *in_source, const char *in_target,
			     enum vmr_outcome expected)
{
	print_message("# %s%s\n", in_source, in_target);
	n_faults++;
	target_fault = in_target;
	start_target(f, run_faulty_target, NULL);
	start_guest(f);
	set_fault(in_source);
	f->plan.config.kick = ring_and_kick;
	f->plan.config.max_downtime_ms = 500;

	enum vmr_outcome outcome = relay(f);

	set_fault("");
	assert_int_equal(outcome, expected);
	switch (outcome) {
	case VMR_OUTCOME_DONE:
		assert_irqs(f, 1);
		end_in_target(f);
		break;
	case VMR_OUTCOME_KEPT:
		assert_irqs(f, 1);
		end_in_source(f);
		break;
	case VMR_OUTCOME_REFUSED:
		assert_int_equal(f->times.stop, 0);
		end_in_source(f);
		break;
	case VMR_OUTCOME_LOST:
		vmm_free_vm(&f->vmm);
		assert_still(f);
		break;
	}
}

static const struct {
	const char *source, *target;
	enum vmr_outcome expected;
} faults[] = {
	{"source-hello:fail", "", VMR_OUTCOME_REFUSED},
	{"source-offered:fail", "", VMR_OUTCOME_REFUSED},
	{"source-ready:fail", "", VMR_OUTCOME_REFUSED},
	{"source-save-vcpu:fail", "", VMR_OUTCOME_KEPT},
	{"source-save-vm:fail", "", VMR_OUTCOME_KEPT},
	{"source-kicked:sleep=50", "", VMR_OUTCOME_DONE},
	{"source-saved:sleep=50", "", VMR_OUTCOME_DONE},
	{"", "target-accepted:fail", VMR_OUTCOME_REFUSED},
	{"", "target-accepted:kill", VMR_OUTCOME_REFUSED},
	{"", "target-built:fail", VMR_OUTCOME_REFUSED},
	{"", "target-built:kill", VMR_OUTCOME_REFUSED},
	{"", "target-ready:fail", VMR_OUTCOME_REFUSED},
	{"", "target-ready:kill", VMR_OUTCOME_REFUSED},
	{"", "target-load-vcpu:fail", VMR_OUTCOME_KEPT},
	{"", "target-load-vcpu:kill", VMR_OUTCOME_KEPT},
	{"", "target-load-vcpu:stop", VMR_OUTCOME_KEPT},
	{"", "target-load-vm:fail", VMR_OUTCOME_KEPT},
	{"", "target-load-vm:kill", VMR_OUTCOME_KEPT},
	{"", "target-load-vm:stop", VMR_OUTCOME_KEPT},
	{"", "target-loaded:fail", VMR_OUTCOME_KEPT},
	{"", "target-loaded:kill", VMR_OUTCOME_KEPT},
	/* The target owns the guest, and has its irqfds, but has not entered it. */
	{"", "target-owner:kill", VMR_OUTCOME_KEPT},
	{"", "target-owner:stop", VMR_OUTCOME_KEPT},
	{"", "target-owner:sleep=50", VMR_OUTCOME_DONE},
	{"", "target-entered:sleep=50", VMR_OUTCOME_DONE},
	{"", "target-entered:kill", VMR_OUTCOME_LOST},
};

static void test_fault(void **state)
{
	static unsigned n;
	unsigned i = n++; /* once per test, however it ends */

	relay_with_fault(*state, faults[i].source, faults[i].target, faults[i].expected);
}

/* The source dies after the stop: the target has the guest, or knows that it is lost. */
static void source_dies(struct fixture *f, const char *fault, bool may_be_done)
{
	vmm_init(&f->vmm);
	n_faults++;
	target_fault = fault;
	start_target(f, be_source, NULL);
	(void)close(f->plan.config.target_pidfd);
	/* The guest's memory ends with us: enough to know who owns it. */
	atomic_store(&report->stop, true);
	run_target(f->sock[0], NULL);
	assert_target_status(f, 128 + SIGKILL);
	if (report->outcome != VMR_OUTCOME_DONE || !may_be_done)
		assert_int_equal(report->outcome, VMR_OUTCOME_LOST);
}

static void test_source_dies_after_kick(void **state)
{
	source_dies(*state, "source-kicked:kill", false);
}

static void test_source_dies_saving_vcpu(void **state)
{
	source_dies(*state, "source-save-vcpu:kill", false);
}

static void test_source_dies_saving_vm(void **state)
{
	source_dies(*state, "source-save-vm:kill", false);
}

/* Its vCPU threads may be done with their part or not. */
static void test_source_dies_after_saving(void **state)
{
	source_dies(*state, "source-saved:kill", true);
}

#define full(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		full(test_relay),
		full(test_times),
		full(test_one_process),
		full(test_paused),
		full(test_check_only),
		full(test_check_only_cannot_stop),
		full(test_optional_section_dropped),
		full(test_mandatory_section_refused),
		full(test_older_target),
		full(test_newer_target),
		full(test_too_old_target),
		full(test_too_new_target),
		full(test_save_fails),
		full(test_save_writes_too_much),
		full(test_load_fails),
		full(test_target_dies_while_loading),
		full(test_target_is_too_slow),
		full(test_vcpu_does_not_come_out),
		full(test_second_try),
		full(test_target_exits),
		full(test_target_is_a_stranger),
		full(test_target_sends_garbage),
		full(test_target_dies_when_ready),
		full(test_source_calls_off),
		full(test_source_dies_before_stop),
		full(test_target_timeout),
		full(test_private_memory_refused),
		full(test_firmware_is_not_run),
		full(test_target_is_early),
		full(test_target_says_what_is_not_known),
		full(test_offer_without_hello),
		full(test_too_many_sections),
		full(test_source_lies),
		full(test_source_wrote_nothing),
		full(test_target_lies),
		full(test_source_dies_after_kick),
		full(test_source_dies_saving_vcpu),
		full(test_source_dies_saving_vm),
		full(test_source_dies_after_saving),
		full(test_fault),
		full(test_fault),
		full(test_fault),
		full(test_fault),
		full(test_fault),
		full(test_fault),
		full(test_fault),
		full(test_fault),
		full(test_fault),
		full(test_fault),
		full(test_fault),
		full(test_fault),
		full(test_fault),
		full(test_fault),
		full(test_fault),
		full(test_fault),
		full(test_fault),
		full(test_fault),
		full(test_fault),
		full(test_fault),
		full(test_fault),
		full(test_fault),
		full(test_fault),
		full(test_fault),
		full(test_fault),
		full(test_fault),
	};

	if (access("/dev/kvm", R_OK | W_OK) < 0) {
		(void)printf("1..0 # SKIP /dev/kvm cannot be opened\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
