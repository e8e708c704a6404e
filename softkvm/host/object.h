/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * object.h - what a file descriptor of a client stands for
 *
 * A client's descriptor is one end of a socket pair of which the host keeps the other.  It can be
 * duplicated, inherited and passed; with each request it is shown to the host, who knows it by its
 * inode number.  When the last copy is closed, the host's end reports it, and the file's reference
 * on the object is dropped.  An object lives while anybody holds a reference.
 */
#ifndef SOFTKVM_OBJECT_H
#define SOFTKVM_OBJECT_H

#include <stdatomic.h>
#include <stdint.h>

struct call;
struct host;
struct object;

struct object_ops {
	const char *name; /* "kvm", "kvm-vm", "kvm-vcpu", "sev" ... */
	/* >= 0 or -errno */
	long (*ioctl)(struct object *object, struct call *call, unsigned request, uint64_t arg);
	/* A descriptor (the caller's to close) of which the client maps len bytes from the same
	 * offset, or -errno.  It is the client's to keep: seal it.  NULL: -ENODEV. */
	int (*mmap)(struct object *object, struct call *call, uint64_t offset, uint64_t len);
	/* The last descriptor is closed, references may be left.  May be NULL.  This and release()
	 * must not wait for a client. */
	void (*closed)(struct object *object);
	/* The last reference is dropped. */
	void (*release)(struct object *object);
};

struct object {
	const struct object_ops *ops;
	struct host *host;
	_Atomic unsigned refs;
};

void object_init(struct object *object, const struct object_ops *ops,
		 struct host *host); /* 1 ref */
struct object *object_get(struct object *object);
struct object *object_put(struct object *object); /* takes NULL, returns NULL */

#endif
