// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mm.c - address spaces of clients
 *
 * The library makes up a cookie for each, but a client may say what it likes: another process is
 * believed to be in the same address space only if the kernel says so.  The kernel cannot say it of
 * a process that is dead, and an address space can outlive the process that was seen in it first.
 * Then the cookie has to do: nobody knows it but whoever is there, or was told by them.
 */
#include <errno.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "softkvm/host/internal.h"

/* mm->pid: 0 if the process is dead.  pid: 0 if it is in no PID namespace that we see. */
static bool is_same(const struct mm *mm, pid_t pid)
{
	return mm->pid == 0 || mm->pid == pid ||
	       (mm->pid > 0 && pid > 0 && syscall(SYS_kcmp, mm->pid, pid, KCMP_VM, 0, 0) == 0);
}

struct mm *mm_find(struct connections *all, const uint8_t cookie[WIRE_COOKIE_LEN], pid_t pid)
{
	struct mm *mm;

	pthread_mutex_lock(&all->lock);
	for (mm = all->mms; mm; mm = mm->next)
		if (memcmp(mm->cookie, cookie, WIRE_COOKIE_LEN) == 0 && is_same(mm, pid))
			break;
	if (mm) {
		mm->refs++;
		mm->pid = mm->pid ? mm->pid : pid;
	} else {
		mm = calloc(1, sizeof(*mm));
		if (mm) {
			mm->all = all;
			mm->refs = 1;
			mm->pid = pid;
			memcpy(mm->cookie, cookie, WIRE_COOKIE_LEN);
			mm->next = all->mms;
			all->mms = mm;
		}
	}
	pthread_mutex_unlock(&all->lock);
	return mm;
}

/* Under all->lock. */
static void mm_unlink(struct mm *mm)
{
	struct mm **at = &mm->all->mms;

	while (*at && *at != mm)
		at = &(*at)->next;
	if (*at)
		*at = mm->next;
}

void mm_forget(struct connections *all, pid_t pid)
{
	pthread_mutex_lock(&all->lock);
	for (struct mm *mm = all->mms; mm; mm = mm->next)
		if (mm->pid == pid)
			mm->pid = 0;
	pthread_mutex_unlock(&all->lock);
}

struct mm *mm_get(struct mm *mm)
{
	pthread_mutex_lock(&mm->all->lock);
	mm->refs++;
	pthread_mutex_unlock(&mm->all->lock);
	return mm;
}

struct mm *mm_put(struct mm *mm)
{
	struct connections *all;
	bool last;

	if (!mm)
		return NULL;
	all = mm->all;
	pthread_mutex_lock(&all->lock);
	last = --mm->refs == 0;
	if (last)
		mm_unlink(mm);
	pthread_mutex_unlock(&all->lock);
	if (last)
		free(mm);
	return NULL;
}
