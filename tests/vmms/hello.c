// SPDX-License-Identifier: GPL-2.0-or-later
/* The first VMM that everybody writes: a guest says hello through a port, and halts. */
#include "machine.h"

#define PORT   0x3f8
#define ANSWER 0x3000

GUEST("	lea rsi, [rip + text]\n"
      "	mov ecx, 6\n"
      "	mov dx, 0x3f8\n"
      "1:	lodsb\n"
      "	out dx, al\n"
      "	loop 1b\n"
      "	in al, dx\n"
      "	mov [0x3000], al\n"
      "	hlt\n"
      "text:	.ascii \"hello\\n\"\n");

int main(void)
{
	struct machine m;
	struct vcpu vcpu;
	struct kvm_regs regs;
	char text[16];
	size_t len = 0;

	machine_init(&m);
	vcpu_init(&vcpu, &m, 0);
	for (;;) {
		struct kvm_run *run = vcpu.run;
		char *data = (char *)run;

		check(vcpu_run(&vcpu) == 0);
		if (run->exit_reason == KVM_EXIT_HLT)
			break;
		check(run->exit_reason == KVM_EXIT_IO);
		check(run->io.port == PORT && run->io.size == 1 && run->io.count == 1);
		data += run->io.data_offset;
		if (run->io.direction == KVM_EXIT_IO_IN) {
			*data = '!';
			continue;
		}
		check(len < sizeof(text));
		text[len++] = *data;
	}
	check(len == 6 && memcmp(text, "hello\n", 6) == 0);
	check(m.memory[ANSWER] == '!'); /* the memory is still ours to look at */
	check(ioctl(vcpu.fd, KVM_GET_REGS, &regs) == 0);
	check(regs.rcx == 0 && regs.rdx == PORT);
	check(m.memory[regs.rip - 1] == 0xf4); /* HLT */
	vcpu_done(&vcpu, &m);
	machine_done(&m);
	return 0;
}
