/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Receiving an offer. */
#include "offer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "describe.h"
#include "error.h"
#include "kvm/cleanup.h"

#define DESCRIPTION_MAX (16U << 20)

static int map_description(struct offered *offered, int fd, struct vmr_error *ret_error)
{
	const int needed = F_SEAL_SHRINK | F_SEAL_WRITE;
	int seals = fcntl(fd, F_GET_SEALS); /* -1 for what is no memfd */
	uint64_t size = offered->offer.description_size;
	struct stat st;
	void *map = MAP_FAILED;

	if (size > 0 && size <= DESCRIPTION_MAX && fstat(fd, &st) == 0 &&
	    (uint64_t)st.st_size == size && seals >= 0 && (seals & needed) == needed)
		map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return error_set(ret_error, -EBADMSG, "offer", "source",
				 "the machine description is not a sealed memory object");
	offered->description = map;
	return 0;
}

static int take_offer(struct offered *offered, struct channel_message *m,
		      struct vmr_error *ret_error)
{
	struct offer *offer = &offered->offer;
	int r;

	if (m->len != sizeof(*offer) || m->n_fds != PROTOCOL_FDS_MIN)
		return error_set(ret_error, -EBADMSG, "offer", "source",
				 "the source's offer is malformed");
	memcpy(offer, m->payload, sizeof(*offer));
	if (offer->protocol < VMR_PROTOCOL_MIN || offer->protocol > VMR_PROTOCOL_MAX ||
	    offer->n_fds > DESCRIBE_FDS_MAX || offer->n_vcpus == 0 ||
	    offer->n_vcpus >= AREA_SLOTS_MAX || offer->slot_size > AREA_SLOT_SIZE_MAX)
		return error_set(ret_error, -EBADMSG, "offer", "source",
				 "the source's offer is out of range");
	offered->source_pidfd = steal_fd(&m->fds[2]);
	offered->description_fd = steal_fd(&m->fds[0]);
	r = map_description(offered, offered->description_fd, ret_error);
	if (r < 0)
		return r;
	r = area_adopt(&offered->area, steal_fd(&m->fds[1]), offer->n_vcpus + 1, offer->slot_size);
	if (r < 0)
		return error_set(ret_error, r, "offer", "source",
				 "the state area is not what the offer says");
	offered->fds = calloc(offer->n_fds + 1, sizeof(offered->fds[0]));
	if (!offered->fds)
		return error_set(ret_error, -ENOMEM, "allocation", "relay", NULL);
	return 0;
}

int offered_begin(struct offered *offered, struct channel_message *m, struct vmr_error *ret_error)
{
	int r = take_offer(offered, m, ret_error);

	/* Who looks into it all the same must not go by the size of what was not mapped. */
	if (r < 0)
		offered_done(offered);
	return r;
}

int offered_add_fds(struct offered *offered, struct channel_message *m, struct vmr_error *ret_error)
{
	if (!offered->fds || m->n_fds == 0 || m->n_fds > offered->offer.n_fds - offered->n_fds)
		return error_set(ret_error, -EBADMSG, "offer", "source",
				 "the source sent another number of fds than it said");
	for (unsigned i = 0; i < m->n_fds; i++)
		offered->fds[offered->n_fds++] = steal_fd(&m->fds[i]);
	return 0;
}

bool offered_is_whole(const struct offered *offered)
{
	return offered->fds && offered->n_fds == offered->offer.n_fds;
}

void offered_done(struct offered *offered)
{
	for (unsigned i = 0; i < offered->n_fds; i++)
		close_fd(offered->fds[i]);
	if (offered->description)
		(void)munmap((void *)offered->description, offered->offer.description_size);
	free(offered->fds);
	area_done(&offered->area);
	close_fd(offered->source_pidfd);
	close_fd(offered->description_fd);
	*offered = (struct offered)OFFERED_NONE;
}

int offered_find_fd(const struct offered *offered, uint32_t tag, unsigned n)
{
	struct section_reader r = {offered->description, offered->offer.description_size};
	struct section s;

	while (section_next(&r, &s) > 0) {
		uint32_t position;

		if (s.header.type != SECTION_VMM_FD || s.header.instance != tag || n-- > 0)
			continue;
		if (s.header.length != sizeof(position))
			return -EBADMSG;
		memcpy(&position, s.payload, sizeof(position));
		return position < offered->n_fds && offered->fds[position] >= 0 ? (int)position
										: -EBADMSG;
	}
	return -ENOENT;
}

const void *offered_blob(const struct offered *offered, uint32_t type, size_t *ret_len)
{
	struct section_reader r = {offered->description, offered->offer.description_size};
	struct section s;

	if (type < SECTION_VMM_FIRST)
		return NULL;
	while (section_next(&r, &s) > 0) {
		if (s.header.type != type)
			continue;
		*ret_len = s.header.length;
		return s.payload;
	}
	return NULL;
}
