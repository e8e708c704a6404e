// SPDX-License-Identifier: GPL-2.0-or-later
#include "machine.h"

#include <errno.h>
#include <linux/psp-sev.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "psp/openssl.h"
#include "psp/provision.h"

#define MEMORY_ADDRESS 0x100000000ULL
#define VMSA_ADDRESS   0x200000000ULL
#define N_VMSAS	       4096u

/* Objects: softkvm/host/object.h */

void object_init(struct object *object, const struct object_ops *ops, struct host *host)
{
	object->ops = ops;
	object->host = host;
	atomic_init(&object->refs, 1);
}

struct object *object_get(struct object *object)
{
	atomic_fetch_add(&object->refs, 1);
	return object;
}

struct object *object_put(struct object *object)
{
	if (object && atomic_fetch_sub(&object->refs, 1) == 1)
		object->ops->release(object);
	return NULL;
}

/* Calls: softkvm/host/call.h */

int call_copy_in(struct call *call, void *ret, uint64_t uaddr, size_t len)
{
	(void)call;
	if (uaddr < PAGE)
		return -EFAULT;
	memcpy(ret, (const void *)(uintptr_t)uaddr, len);
	return 0;
}

int call_copy_out_now(struct call *call, uint64_t uaddr, const void *data, size_t len)
{
	if (uaddr < PAGE || uaddr - (uintptr_t)call->machine->read_only < MEMORY_LEN)
		return -EFAULT;
	memcpy((void *)(uintptr_t)uaddr, data, len);
	return 0;
}

int call_copy_out(struct call *call, uint64_t uaddr, const void *data, size_t len)
{
	return call_copy_out_now(call, uaddr, data, len);
}

int call_object(struct call *call, int number, struct object **ret)
{
	if (number < 0 || number >= N_FDS || !call->fd[number])
		return -EBADF;
	*ret = object_get(call->fd[number]);
	return 0;
}

uint64_t call_rlimit_memlock(struct call *call)
{
	return call->memlock;
}

const char *call_cgroup(struct call *call)
{
	return call->cgroup;
}

int call_lock(struct call *call, pthread_mutex_t *mutex)
{
	struct timespec soon;
	int err;

	do {
		clock_gettime(CLOCK_REALTIME, &soon);
		soon.tv_nsec += 1000000;
		if (soon.tv_nsec >= 1000000000) {
			soon.tv_nsec -= 1000000000;
			soon.tv_sec++;
		}
		err = pthread_mutex_timedlock(mutex, &soon);
	} while (err == ETIMEDOUT && !atomic_load(&call->is_killed));
	return err ? -EINTR : 0;
}

/* Memory: softkvm/memory/memory.h */

static struct machine *of_objects(struct memory_objects *objects)
{
	return (struct machine *)objects;
}

static uint64_t address_of_page(const struct machine *m, uint64_t page)
{
	/* Five pages away from its neighbours. */
	return MEMORY_ADDRESS + (m->is_fragmented ? page * 5 % (MEMORY_LEN / PAGE) : page) * PAGE;
}

static uint8_t *page_at(struct machine *m, uint64_t address)
{
	for (uint64_t page = 0; page < MEMORY_LEN / PAGE; page++)
		if (address_of_page(m, page) == address)
			return m->memory[0] + page * PAGE;
	return NULL;
}

void *memory_map(struct memory_objects *objects, uint64_t address, uint32_t len)
{
	struct machine *m = of_objects(objects);
	uint64_t offset = address - VMSA_ADDRESS;

	if (address >= VMSA_ADDRESS)
		return offset < N_VMSAS * PAGE && len <= N_VMSAS * PAGE - offset
			       ? (uint8_t *)m->vmsas + offset
			       : NULL;
	offset = address - MEMORY_ADDRESS;
	if (address < MEMORY_ADDRESS || offset >= MEMORY_LEN || len > MEMORY_LEN - offset ||
	    (m->is_fragmented && offset % PAGE + len > PAGE))
		return NULL;
	return page_at(m, address - address % PAGE) + address % PAGE;
}

void memory_cipher(const uint8_t vek[PSP_KEY_LEN], uint64_t address, uint8_t *copy, uint32_t len,
		   bool encrypts)
{
	psp_xex(&psp_openssl, vek, address / PSP_BLOCK_LEN, copy, len, encrypts);
}

/* Where in the memory object [uaddr, +len) is; false: nowhere. */
static bool find_offset(const struct machine *m, uint64_t uaddr, uint64_t len, bool for_write,
			uint64_t *ret)
{
	const uint8_t *view[] = {m->memory[0], m->memory[1], for_write ? NULL : m->read_only};

	for (unsigned i = 0; i < ARRAY_SIZE(view); i++) {
		*ret = uaddr - (uintptr_t)view[i];
		if (view[i] && *ret < MEMORY_LEN && len <= MEMORY_LEN - *ret)
			return true;
	}
	return false;
}

int memory_pin(struct call *call, uint64_t uaddr, uint64_t len, bool for_write, struct pinned **ret)
{
	struct machine *m = call->machine;
	struct pinned *pinned;
	uint64_t offset, n;

	if (!find_offset(m, uaddr, len, for_write, &offset))
		return -ENOMEM;
	pinned = calloc(1, sizeof(*pinned) + MEMORY_LEN / PAGE * sizeof(pinned->stretch[0]));
	assert_non_null(pinned);
	pinned->uaddr = uaddr;
	pinned->len = len;
	for (uint64_t done = 0; done < len; done += n) {
		uint64_t at = offset + done;

		n = len - done;
		if (m->is_fragmented && n > PAGE - at % PAGE)
			n = PAGE - at % PAGE;
		pinned->stretch[pinned->n++] = (struct pinned_stretch){
			.offset = at,
			.len = n,
			.address = address_of_page(m, at / PAGE) + at % PAGE,
		};
	}
	atomic_fetch_add(&m->n_pinned, 1);
	*ret = pinned;
	return 0;
}

/* There is one machine at a time, in which everything that is pinned must be unpinned. */
static struct machine *the_machine;

struct pinned *memory_unpin(struct pinned *pinned)
{
	if (pinned)
		atomic_fetch_sub(&the_machine->n_pinned, 1);
	free(pinned);
	return NULL;
}

void slots_doubt(struct slots *slots)
{
	atomic_fetch_add((_Atomic unsigned *)slots, 1);
}

/* vCPUs' encrypted state: softkvm/sev/vmsa.c has the real thing */

int sev_vcpu_create(struct vcpu *vcpu)
{
	struct machine *m = the_machine;
	unsigned n;

	if (!vcpu->vm->sev.es)
		return 0;
	n = atomic_fetch_add(&m->n_vmsas, 1) % N_VMSAS;
	vcpu->sev.vmsa = m->vmsas[n];
	vcpu->sev.vmsa_address = VMSA_ADDRESS + n * PAGE;
	return 0;
}

void sev_vcpu_destroy(struct vcpu *vcpu)
{
	memset(&vcpu->sev, 0, sizeof(vcpu->sev));
}

int vmsa_build(struct vcpu *vcpu, uint8_t ret[4096])
{
	memset(ret, (int)vcpu->id + 1, 4096);
	return 0;
}

void sev_vcpu_move(struct vcpu *target, struct vcpu *source)
{
	target->sev = source->sev;
	memset(&source->sev, 0, sizeof(source->sev));
}

/* VMs: softkvm/kvm/vm.h */

static void vm_release(struct object *object)
{
	struct vm *vm = (struct vm *)object;

	sev_vm_destroy(vm);
	assert_null(vm->sev.mirrors);
	assert_null(vm->sev.regions);
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		sev_vcpu_destroy(vm->vcpu[i]);
		pthread_mutex_destroy(&vm->vcpu[i]->lock);
		free(vm->vcpu[i]);
	}
	pthread_mutex_destroy(&vm->lock);
	free(vm);
	atomic_fetch_sub(&the_machine->n_vms, 1);
}

static const struct object_ops vm_ops = {.name = "kvm-vm", .release = vm_release};

struct vm *vm_of(struct object *object)
{
	return object->ops == &vm_ops ? (struct vm *)object : NULL;
}

struct vm *vm_new(struct machine *m, unsigned long type, unsigned n_vcpus)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	assert_non_null(vm);
	object_init(&vm->object, &vm_ops, &m->host);
	pthread_mutex_init(&vm->lock, NULL);
	vm->type = type;
	vm->sev.need_init = type != SEV_VM_DEFAULT;
	vm->slots = (struct slots *)&m->n_doubts;
	atomic_fetch_add(&m->n_vms, 1);
	for (unsigned i = 0; i < n_vcpus; i++)
		vcpu_create(vm, i);
	return vm;
}

void vm_close(struct vm *vm)
{
	object_put(&vm->object);
}

void vcpu_begin(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->n_created++;
	pthread_mutex_unlock(&vm->lock);
}

void vcpu_end(struct vm *vm, unsigned id)
{
	struct vcpu *vcpu = calloc(1, sizeof(*vcpu));

	assert_non_null(vcpu);
	pthread_mutex_init(&vcpu->lock, NULL);
	vcpu->vm = vm;
	vcpu->id = id;
	pthread_mutex_lock(&vm->lock);
	assert_int_equal(sev_vcpu_create(vcpu), 0);
	vm->vcpu[vm->n_vcpus] = vcpu;
	vm->n_vcpus++;
	pthread_mutex_unlock(&vm->lock);
}

void vcpu_create(struct vm *vm, unsigned id)
{
	vcpu_begin(vm);
	vcpu_end(vm, id);
}

/* The machine itself. */

static void *map(int fd, int protection)
{
	void *memory = mmap(NULL, MEMORY_LEN, protection, MAP_SHARED, fd, 0);

	assert_ptr_not_equal(memory, MAP_FAILED);
	return memory;
}

static void write_file(char *path, const void *data, size_t len)
{
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	close(fd);
}

struct machine *machine_new(const struct host_config *config)
{
	static struct psp_ca_chain authorities;
	static struct psp_fuses fuses;
	struct machine *m = calloc(1, sizeof(*m));
	char path[] = "/tmp/fuses-XXXXXX";
	int fd = memfd_create("guest", MFD_CLOEXEC);

	if (!fuses.magic[0])
		assert_int_equal(psp_provision(&fuses, &authorities), 0);
	assert_non_null(m);
	assert_int_equal(ftruncate(fd, MEMORY_LEN), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(m->memory); i++)
		m->memory[i] = map(fd, PROT_READ | PROT_WRITE);
	m->read_only = map(fd, PROT_READ);
	close(fd);
	m->vmsas = calloc(N_VMSAS, PAGE);
	assert_non_null(m->vmsas);
	write_file(path, &fuses, sizeof(fuses));
	m->authorities = authorities;
	m->host.config = *config;
	m->host.config.sev = true;
	m->host.config.fuses = path;
	if (!config->min_sev_asid) {
		m->host.config.max_asid = MAX_ASID;
		m->host.config.min_sev_asid = MIN_SEV_ASID;
	}
	m->host.memory_objects = (struct memory_objects *)m;
	m->host.sev = sev_host_new(&m->host, &m->host.config);
	assert_non_null(m->host.sev);
	unlink(path);
	m->host.config.fuses = NULL;
	the_machine = m;
	return m;
}

struct machine *machine_free(struct machine *m)
{
	assert_int_equal(m->n_vms, 0);
	assert_int_equal(m->n_pinned, 0);
	sev_host_free(m->host.sev);
	for (unsigned i = 0; i < ARRAY_SIZE(m->memory); i++)
		munmap(m->memory[i], MEMORY_LEN);
	munmap(m->read_only, MEMORY_LEN);
	free(m->vmsas);
	free(m);
	return NULL;
}

void call_init(struct call *call, struct machine *m)
{
	memset(call, 0, sizeof(*call));
	call->machine = m;
	call->cgroup = "/user/a";
	call->memlock = UINT64_MAX;
	call->fd[SEV_FD] = sev_device_open(&m->host, false);
	call->fd[0] = object_get(call->fd[SEV_FD]);
}

void call_done(struct call *call)
{
	for (int i = 0; i < N_FDS; i++)
		object_put(call->fd[i]);
}

int give(struct call *call, struct object *object)
{
	int fd = SEV_FD + 1;

	while (call->fd[fd])
		fd++;
	assert_true(fd < N_FDS);
	call->fd[fd] = object_get(object);
	return fd;
}

void close_in(struct call *call, int fd)
{
	struct object *object = call->fd[fd];

	call->fd[fd] = NULL;
	object_put(object);
}

/* Ioctls, with what is before them in softkvm/kvm/. */

long op(struct call *call, struct vm *vm, uint32_t id, void *data, uint32_t *ret_error)
{
	struct kvm_sev_cmd cmd = {
		.id = id,
		.data = (uintptr_t)data,
		.error = ret_error ? *ret_error : 0,
		.sev_fd = SEV_FD,
	};
	long result = vm->dead ? -EIO : sev_mem_enc_op(call, vm, (uintptr_t)&cmd);

	if (ret_error)
		*ret_error = cmd.error;
	return result;
}

long region(struct call *call, struct vm *vm, bool registers, const void *uaddr, uint64_t size)
{
	struct kvm_enc_region range = {.addr = (uintptr_t)uaddr, .size = size};

	if (vm->dead)
		return -EIO;
	return registers ? sev_reg_region(call, vm, (uintptr_t)&range)
			 : sev_unreg_region(call, vm, (uintptr_t)&range);
}

long move_fd(struct call *call, struct vm *target, uint64_t fd)
{
	return target->dead ? -EIO : sev_move_from(call, target, fd);
}

long copy_fd(struct call *call, struct vm *target, uint64_t fd)
{
	return target->dead ? -EIO : sev_copy_from(call, target, fd);
}

long move_vm(struct call *call, struct vm *target, struct vm *source)
{
	int fd = give(call, &source->object);
	long result = move_fd(call, target, (uint64_t)fd);

	close_in(call, fd);
	return result;
}

long copy_vm(struct call *call, struct vm *target, struct vm *source)
{
	int fd = give(call, &source->object);
	long result = copy_fd(call, target, (uint64_t)fd);

	close_in(call, fd);
	return result;
}

struct vm *aux_vm(struct call *call, unsigned n_vcpus)
{
	return vm_new(call->machine, SEV_VM_DEFAULT, n_vcpus);
}

static struct vm *launch(struct call *call, uint32_t init, uint32_t policy, unsigned n_vcpus)
{
	struct kvm_sev_launch_start start = {.policy = policy};
	struct vm *vm = aux_vm(call, 0);
	uint32_t error = 0;

	assert_int_equal(op(call, vm, init, NULL, &error), 0);
	for (unsigned i = 0; i < n_vcpus; i++)
		vcpu_create(vm, i);
	assert_int_equal(op(call, vm, KVM_SEV_LAUNCH_START, &start, &error), 0);
	assert_int_equal(error, 0);
	assert_int_not_equal(start.handle, 0);
	return vm;
}

struct vm *sev_vm(struct call *call, unsigned n_vcpus)
{
	return launch(call, KVM_SEV_INIT, 0, n_vcpus);
}

struct vm *es_vm(struct call *call, unsigned n_vcpus)
{
	struct vm *vm = launch(call, KVM_SEV_ES_INIT, PSP_POLICY_ES, n_vcpus);

	assert_int_equal(op(call, vm, KVM_SEV_LAUNCH_UPDATE_VMSA, NULL, NULL), 0);
	return vm;
}

struct kvm_sev_guest_status guest_status(struct call *call, struct vm *vm)
{
	struct kvm_sev_guest_status status = {0};
	uint32_t error = 0;

	assert_int_equal(op(call, vm, KVM_SEV_GUEST_STATUS, &status, &error), 0);
	assert_int_equal(error, 0);
	return status;
}

long device(struct call *call, int fd, uint32_t cmd, void *data, uint32_t *ret_error)
{
	struct sev_issue_cmd issue = {
		.cmd = cmd, .data = (uintptr_t)data, .error = ret_error ? *ret_error : 0};
	struct object *object = call->fd[fd];
	long result = object->ops->ioctl(object, call, SEV_ISSUE_CMD, (uintptr_t)&issue);

	if (ret_error)
		*ret_error = issue.error;
	return result;
}

unsigned guest_count(struct call *call)
{
	struct sev_user_data_status status;

	assert_int_equal(device(call, SEV_FD, SEV_PLATFORM_STATUS, &status, NULL), 0);
	return status.guest_count;
}

uint64_t n_commands(struct machine *m, uint32_t number)
{
	return m->host.sev->n_commands[number];
}
