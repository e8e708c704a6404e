/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What this library speaks. */
#include "protocol.h"

#include <errno.h>
#include <string.h>

#include "error.h"
#include "state.h"

void vmr_protocol_range(unsigned *ret_min, unsigned *ret_max)
{
	*ret_min = VMR_PROTOCOL_MIN;
	*ret_max = VMR_PROTOCOL_MAX;
}

const char *vmr_section_name(unsigned n, uint32_t *ret_type, uint16_t *ret_version,
			     uint16_t *ret_min_version)
{
	for (unsigned i = 0; i <= n; i++)
		if (state_kinds[i].type == 0)
			return NULL;
	*ret_type = state_kinds[n].type;
	*ret_version = state_kinds[n].version;
	*ret_min_version = state_kinds[n].min_version;
	return state_kinds[n].name;
}

void protocol_sanitise(char *to, size_t size, const void *from, size_t len)
{
	const char *bytes = from;
	size_t n = 0;

	while (n < len && n < size - 1 && bytes[n] != '\0') {
		to[n] = bytes[n] >= ' ' && bytes[n] <= '~' ? bytes[n] : '?';
		n++;
	}
	to[n] = '\0';
}

/* The one who says hello gets the guest's memory: it must be the process that the operator started.
 */
static int check_sender(const struct channel_message *m, int pidfd, struct vmr_error *ret_error)
{
	int r = channel_check_sender(m, pidfd);

	if (r == -EPERM && m->sender == 0)
		return error_set(ret_error, r, "hello", "target",
				 "the target did not prove which process it is");
	if (r == -EPERM)
		return error_set(ret_error, r, "hello", "target",
				 "process %d says hello and is not the target that was started",
				 (int)m->sender);
	if (r == -ESRCH)
		return error_set(ret_error, r, "hello", "target",
				 "the new VMM ended when it had said hello");
	if (r < 0)
		return error_set(ret_error, r, "hello", "target",
				 "cannot find out which process the target is, in /proc: %s",
				 strerrordesc_np(-r));
	return 0;
}

int protocol_hello(const struct channel_message *m, int pidfd, struct hello_message *ret,
		   struct vmr_peer *ret_peer, uint16_t *ret_protocol, struct vmr_error *ret_error)
{
	struct hello *hello = &ret->hello;
	int r;

	if (m->type != CHANNEL_HELLO || m->n_fds > 0 || m->len < sizeof(*hello))
		return error_set(ret_error, -EPROTO, "hello", "target",
				 "the target did not say hello: it is not a vmrelay VMM");
	r = check_sender(m, pidfd, ret_error);
	if (r < 0)
		return r;
	memcpy(hello, m->payload, sizeof(*hello));
	if (hello->n_sections > PROTOCOL_SECTIONS_MAX ||
	    m->len != sizeof(*hello) + hello->n_sections * sizeof(ret->readable[0]))
		return error_set(ret_error, -EBADMSG, "hello", "target",
				 "the target's hello is malformed");
	memcpy(ret->readable, m->payload + sizeof(*hello),
	       hello->n_sections * sizeof(ret->readable[0]));

	ret_peer->pid = m->sender;
	protocol_sanitise(ret_peer->version, sizeof(ret_peer->version), hello->version,
			  sizeof(hello->version));
	*ret_protocol =
		hello->protocol_max < VMR_PROTOCOL_MAX ? hello->protocol_max : VMR_PROTOCOL_MAX;
	if (*ret_protocol < VMR_PROTOCOL_MIN || *ret_protocol < hello->protocol_min)
		return error_set(ret_error, -EPROTONOSUPPORT, "hello", "target",
				 "the target speaks relay protocol %u to %u, this VMM %u to %u",
				 hello->protocol_min, hello->protocol_max, VMR_PROTOCOL_MIN,
				 VMR_PROTOCOL_MAX);
	return 0;
}

const struct hello_section *protocol_find(const struct hello_message *hello, uint32_t type)
{
	for (uint32_t i = 0; i < hello->hello.n_sections; i++)
		if (hello->readable[i].type == type)
			return &hello->readable[i];
	return NULL;
}

int protocol_unreadable(uint32_t type, const char *name, struct vmr_error *ret_error)
{
	return error_set(ret_error, -ENOTSUP, "hello", "target",
			 "the target cannot read the guest's %s state (type 0x%x)", name, type);
}

int protocol_failed(const struct channel_message *m, struct vmr_error *ret_error)
{
	char text[200];

	protocol_sanitise(text, sizeof(text), m->payload, m->len);
	return error_set(ret_error, -ECONNABORTED, "relay", "target", "the target says: %s", text);
}
