// SPDX-License-Identifier: GPL-2.0-or-later
/* References on objects. */
#include "softkvm/host/object.h"

#include <stddef.h>

void object_init(struct object *object, const struct object_ops *ops, struct host *host)
{
	object->ops = ops;
	object->host = host;
	atomic_init(&object->refs, 1);
}

struct object *object_get(struct object *object)
{
	atomic_fetch_add_explicit(&object->refs, 1, memory_order_relaxed);
	return object;
}

struct object *object_put(struct object *object)
{
	if (object && atomic_fetch_sub_explicit(&object->refs, 1, memory_order_acq_rel) == 1)
		object->ops->release(object);
	return NULL;
}
