/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kvm.h - see kvm.c */
#ifndef TESTS_FUZZ_KVM_H
#define TESTS_FUZZ_KVM_H

/* A descriptor to be used as /dev/kvm. */
int fuzz_kvm_fd(void);

#endif
