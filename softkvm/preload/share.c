// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * share.c - memory of this process, as a file that the host can map
 *
 * A shared mapping has its file.  Its descriptor may be closed by now: that of a file which has no
 * name any more (a memfd) is remembered when it is mapped.  A private mapping becomes a shared one
 * of a new memfd, in place and with its contents.  What other threads write into it just at that
 * moment is lost; locks and advice (mlock(), madvise()) are, too.  Stacks stay as they are.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "softkvm/preload/library.h"

#define PAGE	       4096ul
#define REMEMBERED_MAX 64

struct mapping {
	uint64_t start, end, offset;
	dev_t dev;
	ino_t ino;
	bool readable, writable, executable, shared;
	bool is_anonymous; /* shared, and with a file of the kernel's that nobody can open */
	char path[PATH_MAX];
};

struct remembered {
	uint64_t start, end; /* where it was mapped; end 0: free */
	int fd;
	struct stat identity;
};

/* Under lock_library(). */
static struct {
	struct remembered files[REMEMBERED_MAX];
	unsigned next; /* to be forgotten */
} share;

static void forget(struct remembered *file)
{
	if (library_is_same_file(file->fd, &file->identity))
		(void)library_syscall(SYS_close, file->fd, 0, 0, 0, 0, 0);
	*file = (struct remembered){.fd = -1};
}

/* fd's ownership is taken over. */
static void remember(uint64_t start, uint64_t len, int fd)
{
	struct remembered *file = NULL;

	for (unsigned i = 0; i < REMEMBERED_MAX && !file; i++)
		if (share.files[i].end == 0)
			file = &share.files[i];
	if (!file) {
		file = &share.files[share.next++ % REMEMBERED_MAX];
		forget(file);
	}
	file->fd = library_move_high(fd);
	if (library_fstat(file->fd, &file->identity) == 0) {
		file->start = start;
		file->end = start + len;
	}
}

void share_mapped(void *address, size_t len, int fd)
{
	kernel_sigset mask;
	struct stat st;
	long copy;

	if (library_fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink > 0)
		return;
	copy = library_syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 0, 0, 0, 0);
	if (copy < 0)
		return;
	library_lock(&mask);
	remember((uint64_t)address, len, (int)copy);
	library_unlock(&mask);
}

void share_unmapped(void *address, size_t len)
{
	uint64_t start = (uint64_t)address, end = start + len;
	kernel_sigset mask;

	library_lock(&mask);
	for (unsigned i = 0; i < REMEMBERED_MAX; i++) {
		struct remembered *file = &share.files[i];

		if (file->end != 0 && file->start >= start && file->end <= end)
			forget(file);
	}
	library_unlock(&mask);
}

/* Text of /proc, piece by piece. */
struct reader {
	int fd;
	char *buffer;
	size_t size, at, len;
};

static int read_char(struct reader *reader)
{
	if (reader->at == reader->len) {
		long n = library_syscall(SYS_read, reader->fd, (long)reader->buffer,
					 (long)reader->size, 0, 0, 0);

		reader->at = 0;
		reader->len = n > 0 ? (size_t)n : 0;
		if (n <= 0)
			return -1;
	}
	return (unsigned char)reader->buffer[reader->at++];
}

/* A number, and the character behind it. */
static uint64_t read_number(struct reader *reader, unsigned base, int *ret_end)
{
	uint64_t value = 0;

	for (;;) {
		int c = read_char(reader);
		unsigned digit = base;

		if (c >= '0' && c <= '9')
			digit = (unsigned)(c - '0');
		else if (c >= 'a' && c <= 'f')
			digit = (unsigned)(c - 'a') + 10;
		if (digit >= base) {
			*ret_end = c;
			return value;
		}
		value = value * base + digit;
	}
}

/* The rest of a line, without what it begins with. */
static void read_path(struct reader *reader, int c, char *ret, size_t size)
{
	size_t len = 0;

	while (c == ' ')
		c = read_char(reader);
	for (; c >= 0 && c != '\n'; c = read_char(reader))
		if (len < size - 1)
			ret[len++] = (char)c;
	ret[len] = '\0';
}

/* A line: start-end perms offset major:minor inode path, see proc(5). */
static bool read_mapping(struct reader *reader, struct mapping *ret)
{
	unsigned dev_major;
	int c;

	ret->start = read_number(reader, 16, &c);
	if (c != '-')
		return false;
	ret->end = read_number(reader, 16, &c);
	ret->readable = read_char(reader) == 'r';
	ret->writable = read_char(reader) == 'w';
	ret->executable = read_char(reader) == 'x';
	ret->shared = read_char(reader) == 's';
	(void)read_char(reader);
	ret->offset = read_number(reader, 16, &c);
	dev_major = (unsigned)read_number(reader, 16, &c);
	ret->dev = makedev(dev_major, (unsigned)read_number(reader, 16, &c));
	ret->ino = read_number(reader, 10, &c);
	read_path(reader, c, ret->path, sizeof(ret->path));
	ret->is_anonymous = strcmp(ret->path, "/dev/zero (deleted)") == 0;
	return true;
}

static int open_raw(const char *path, int flags)
{
	return (int)library_syscall(SYS_openat, AT_FDCWD, (long)path, flags | O_CLOEXEC, 0, 0, 0);
}

/* scratch: memory that there is not enough of on any stack. */
static int find_mapping(uint64_t address, struct link *scratch, struct mapping *ret)
{
	struct reader reader = {.buffer = (char *)scratch->packet.data, .size = WIRE_DATA_MAX};
	bool found = false;

	reader.fd = open_raw("/proc/thread-self/maps", O_RDONLY);
	if (reader.fd < 0)
		return reader.fd;
	while (!found && read_mapping(&reader, ret))
		found = address >= ret->start && address < ret->end;
	(void)library_syscall(SYS_close, reader.fd, 0, 0, 0, 0, 0);
	return found ? 0 : -EFAULT;
}

static bool is_file_of(int fd, const struct mapping *mapping)
{
	struct stat st;

	return library_fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_dev == mapping->dev &&
	       st.st_ino == mapping->ino;
}

static bool is_writable(int fd)
{
	return (library_syscall(SYS_fcntl, fd, F_GETFL, 0, 0, 0, 0) & O_ACCMODE) == O_RDWR;
}

static int find_remembered(const struct mapping *mapping)
{
	for (unsigned i = 0; i < REMEMBERED_MAX; i++) {
		const struct remembered *file = &share.files[i];

		if (file->end != 0 && file->identity.st_dev == mapping->dev &&
		    file->identity.st_ino == mapping->ino &&
		    library_is_same_file(file->fd, &file->identity))
			return file->fd;
	}
	return -1;
}

/* What getdents64(2) returns. */
struct entry {
	uint64_t ino;
	int64_t offset;
	uint16_t len;
	uint8_t type;
	char name[];
};

/* Among the open descriptors: a writable one, if there is any. */
static int find_open(const struct mapping *mapping, struct link *scratch)
{
	int dir = open_raw("/proc/thread-self/fd", O_RDONLY | O_DIRECTORY);
	int best = -1;
	long n;

	while (dir >= 0 && (n = library_syscall(SYS_getdents64, dir, (long)scratch->packet.data,
						WIRE_DATA_MAX, 0, 0, 0)) > 0) {
		for (long at = 0; at < n;) {
			const struct entry *entry = (const void *)(scratch->packet.data + at);
			int fd = 0;

			at += entry->len;
			for (const char *c = entry->name; *c >= '0' && *c <= '9'; c++)
				fd = fd * 10 + (*c - '0');
			if (is_file_of(fd, mapping) && (best < 0 || is_writable(fd)))
				best = fd;
		}
	}
	if (dir >= 0)
		(void)library_syscall(SYS_close, dir, 0, 0, 0, 0, 0);
	return best;
}

static int reopen(const struct mapping *mapping)
{
	int fd = open_raw(mapping->path, O_RDWR);

	if (fd < 0)
		fd = open_raw(mapping->path, O_RDONLY);
	if (fd >= 0 && !is_file_of(fd, mapping)) {
		(void)library_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
		fd = -ENOENT;
	}
	return fd;
}

static int find_file(const struct mapping *mapping, struct link *scratch, bool *ret_close)
{
	int fd = find_remembered(mapping);

	*ret_close = false;
	if (fd < 0)
		fd = find_open(mapping, scratch);
	if (fd < 0 && mapping->path[0] == '/') {
		fd = reopen(mapping);
		*ret_close = fd >= 0;
	}
	return fd;
}

static int write_all(int fd, uint64_t from, uint64_t len, uint64_t offset)
{
	while (len > 0) {
		long n = library_syscall(SYS_pwrite64, fd, (long)from, (long)len, (long)offset, 0,
					 0);

		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		from += (uint64_t)n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

/* Pages of anonymous memory that were never touched are holes: bits 63 and 62 of the kernel's
 * admin-guide/mm/pagemap. */
#define PAGEMAP_PRESENT (3ull << 62)

static int copy_anonymous(int fd, uint64_t start, uint64_t len, struct link *scratch)
{
	uint64_t *entries = (uint64_t *)scratch->packet.data;
	int pagemap = open_raw("/proc/thread-self/pagemap", O_RDONLY);
	uint64_t at = 0;
	int r = 0;

	if (pagemap < 0)
		return write_all(fd, start, len, 0);
	while (r == 0 && at < len) {
		uint64_t n_pages = (len - at) / PAGE;
		long n;

		if (n_pages > WIRE_DATA_MAX / sizeof(*entries))
			n_pages = WIRE_DATA_MAX / sizeof(*entries);
		n = library_syscall(SYS_pread64, pagemap, (long)entries,
				    (long)(n_pages * sizeof(*entries)),
				    (long)((start + at) / PAGE * sizeof(*entries)), 0, 0);
		if (n < (long)sizeof(*entries)) {
			r = write_all(fd, start + at, len - at, at);
			break;
		}
		for (long i = 0; r == 0 && i < n / (long)sizeof(*entries); i++, at += PAGE)
			if (entries[i] & PAGEMAP_PRESENT)
				r = write_all(fd, start + at, PAGE, at);
	}
	(void)library_syscall(SYS_close, pagemap, 0, 0, 0, 0, 0);
	return r;
}

static int protection(const struct mapping *mapping)
{
	return (mapping->readable ? PROT_READ : 0) | (mapping->writable ? PROT_WRITE : 0) |
	       (mapping->executable ? PROT_EXEC : 0);
}

static int convert_to(int fd, const struct mapping *mapping, uint64_t start, uint64_t len,
		      struct link *scratch)
{
	long r = library_syscall(SYS_ftruncate, fd, (long)len, 0, 0, 0, 0);

	if (r == 0 && !mapping->readable)
		r = library_syscall(SYS_mprotect, (long)start, (long)len, PROT_READ, 0, 0, 0);
	if (r == 0 && mapping->ino == 0)
		r = copy_anonymous(fd, start, len, scratch);
	else if (r == 0)
		r = write_all(fd, start, len, 0);
	if (r == 0)
		r = library_syscall(SYS_mmap, (long)start, (long)len, protection(mapping),
				    MAP_SHARED | MAP_FIXED, fd, 0);
	return r < 0 && r > -4096 ? (int)r : 0;
}

/* [start, +len) of a private mapping becomes a file, which is remembered. */
static int convert(const struct mapping *mapping, uint64_t start, uint64_t len,
		   struct link *scratch)
{
	int fd = (int)library_syscall(SYS_memfd_create, (long)"softkvm", MFD_CLOEXEC, 0, 0, 0, 0);
	int r;

	if (fd < 0)
		return fd;
	r = convert_to(fd, mapping, start, len, scratch);
	if (r < 0)
		(void)library_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
	else
		remember(start, len, fd);
	return r;
}

/*
 * A stack that calls go on to write, here and, once it is shared, in a forked child as well.  Of a
 * thread's stack, which looks like any memory, that is what is in use down to what this calls.
 */
static bool is_stack(const struct link *link, const struct mapping *mapping, uint64_t start,
		     uint64_t end)
{
	uint64_t lowest = (uint64_t)__builtin_frame_address(0) - PAGE;

	return strcmp(mapping->path, "[stack]") == 0 ||
	       (start <= (uint64_t)link->frame && lowest < end);
}

/* Of [address, +size), what is in one mapping. */
static int find_stretch(struct link *scratch, uint64_t address, uint64_t size,
			struct mapping *mapping, uint64_t *ret_size)
{
	int r = find_mapping(address, scratch, mapping);

	if (r < 0)
		return r;
	*ret_size = size < mapping->end - address ? size : mapping->end - address;
	if (mapping->shared && !mapping->is_anonymous)
		return 0;

	uint64_t start = address & ~(PAGE - 1);
	uint64_t end = (address + *ret_size + PAGE - 1) & ~(PAGE - 1);

	if (is_stack(scratch, mapping, start, end))
		return -EFAULT;
	r = convert(mapping, start, end - start, scratch);
	return r < 0 ? r : find_mapping(address, scratch, mapping);
}

void share_find(struct link *link, const struct wire_message *message, struct wire_message *ret,
		int *ret_fd, bool *ret_close)
{
	/* Too large for a stack that we know nothing of. */
	long memory = library_syscall(SYS_mmap, 0, sizeof(struct mapping), PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct mapping *mapping = (struct mapping *)memory;
	kernel_sigset mask;
	int r;

	*ret_fd = -1;
	*ret_close = false;
	if (memory < 0 && memory > -4096) {
		ret->result = memory;
		return;
	}
	library_lock(&mask);
	r = find_stretch(link, message->address, message->size, mapping, &ret->size);
	if (r == 0) {
		*ret_fd = find_file(mapping, link, ret_close);
		ret->address = mapping->offset + (message->address - mapping->start);
		ret->flags = mapping->writable ? WIRE_WRITABLE : 0;
	}
	library_unlock(&mask);
	ret->result = r < 0 ? r : (*ret_fd < 0 ? -EFAULT : 0);
	(void)library_syscall(SYS_munmap, memory, sizeof(*mapping), 0, 0, 0, 0);
}
