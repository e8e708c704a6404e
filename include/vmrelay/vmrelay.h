/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvmrelay: move a running KVM guest to another process on the same host. */
#ifndef VMRELAY_VMRELAY_H
#define VMRELAY_VMRELAY_H

#include <vmrelay/error.h>
#include <vmrelay/memory.h>
#include <vmrelay/relay.h>
#include <vmrelay/rescue.h>
#include <vmrelay/sev.h>
#include <vmrelay/vm.h>

#endif
