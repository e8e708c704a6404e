/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The relay, as a model for spin: source, target, kernel, and what may happen to them.
 *
 * Theory of operation.  Each thread of lib/source.c, lib/target.c, vmm/upgrade.c and vmm/vcpu.c
 * is a process here, and each comment `f()` names the C function that the lines below it stand for.
 * A thread takes a step only while its process is scheduled (`provided (runs[..])`).  fate() kills
 * a process or freezes it for ever between any two steps; kernel() does then what the kernel does:
 * it closes sockets and VMs, and only after that lets the pidfd tell.  A process that is frozen for
 * a while, or is slow, needs nothing: others just take their steps first.  Every deadline is an
 * alternative that can be taken at any time, and every step that can fail may.
 *
 * `atomic` and `d_step` group at most one access to something that another process can see with
 * local and ghost variables (what the model remembers to judge by, no process looks at it): such a
 * group cannot be told from its single steps.  The exceptions are single system calls.
 *
 * When nothing can move any more, judge() compares what is left with what docs/architecture.md
 * promises.  Parameters: VCPUS, CONFIDENTIAL, MUTANT_*, and TRACE (trace.pml); see docs/model.md.
 */
#ifndef VCPUS
#define VCPUS 1
#endif

#define S 0
#define T 1
#define THE_VM VCPUS /* the VM's slot, behind those of the vCPUs */

mtype:owner = { SOURCE, TARGET, ENTERED, KEPT }; /* lib/area.h */
mtype:message = { HELLO, OFFER, READY, STOPPED, SAYS_ENTERED, FAILED, CANCEL }; /* lib/channel.h */
mtype:slot = { EMPTY, PUBLISHED, ABORTED };
mtype:word = { UNSET, OPEN, CLOSED, ALL_OUT, TOO_LATE };
mtype:outcome = { NONE, DONE, REFUSED, STAYED, LOST }; /* STAYED: VMR_OUTCOME_KEPT */
mtype:vm = { VM_S, VM_T, VM_CLONE, GONE };

#ifdef TRACE
#include "trace.pml"
#else
#define STEP(thread, step) true /* before what cannot be told from it */
#define MARK(thread, step)      /* where nothing follows */
#endif

/* Threads, for STEP. */
#define SM	 0
#define TM	 1
#define SV(i) (2 + (i))
#define TV(i) (2 + VCPUS + (i))

/* Processes. */
bool runs[2] = true;   /* its threads are scheduled */
bool killed[2];        /* SIGKILL, by whomever, or exit() */
bool closed[2];        /* its end of the relay's socket is closed */
bool dead[2];          /* its pidfd says so */
bool crashed[2];       /* by fate, */
bool frozen[2];        /* for ever */
mtype:outcome outcome[2] = NONE;

chan to[2] = [4] of { mtype:message };

/* The state area. */
mtype:owner owner = SOURCE;
mtype:slot slot[VCPUS + 1] = EMPTY;
bool all_loaded;

/* Private to the source: struct vmr_source, struct vcpus. */
bool kicked, run_again, s_failed;
mtype:word all_out = UNSET;
byte n_out, n_idle;

/* Private to the target: struct vmr_target. */
bool threads_run, t_failed;
byte n_prepared, n_loaded;
mtype:word prepared = UNSET, vm_loaded = UNSET, gate = UNSET;

/* The kernel. */
byte in_guest[2];       /* threads in KVM_RUN */
bool bound[2];          /* irqfds */
bool eventfd;           /* counts an event */
bool got_event[2];      /* the VM has it */
bool is_binding;        /* the target is in KVM_IRQFD */
byte bound_last;

/* Ghosts. */
bool has_run_in_target;
bool was_complete;      /* the state, when the source crashed */
bool target_failed;     /* a step of its own did */
bool is_signalled;      /* the event */
bool kvm_refused;

#ifdef CONFIDENTIAL
/* Which VM has the context; VMs are alive as long as somebody has a file descriptor of theirs. */
mtype:vm context = VM_S, source_vm = VM_S;
bool is_moved;          /* VM_S is dead, in KVM's sense */
bool has_vm[2];         /* its own */
bool target_vm_fd;      /* the source's, of the target's VM */
bool source_vm_fd;      /* the target's, of the source's VM */
bool is_moving;         /* the target is in KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM */
#define RESTS_WITH(vm) (context == (vm))
#define SENT_FD (source_vm_fd || to[T]??[STOPPED])

/* A file descriptor was closed: a VM without any is destroyed, and the context that it has. */
inline reap()
{
	if
	:: context == VM_S && !(has_vm[S] && source_vm == VM_S) && !SENT_FD -> context = GONE
	:: context == VM_T && !has_vm[T] && !target_vm_fd && !(to[S]??[READY]) -> context = GONE
	:: context == VM_CLONE && !has_vm[S] -> context = GONE
	:: else
	fi
}

/* kvm_vm_move_enc_context_from(): the target's VM, from the source's. */
inline move_to_target()
{
	if
	:: context == VM_S -> context = VM_T; is_moved = true
	:: else
	fi
}
#else
#define RESTS_WITH(vm) true
#define source_vm VM_S
#define SENT_FD true
#define reap() skip
#endif

/* Is there anything for the target to go on with, if the source is dead? */
#define COMPLETE_VM (slot[THE_VM] == PUBLISHED)
#if VCPUS == 1
#define ALL_PUBLISHED (slot[0] == PUBLISHED && COMPLETE_VM)
#else
#define ALL_PUBLISHED (slot[0] == PUBLISHED && slot[1] == PUBLISHED && COMPLETE_VM)
#endif

/* channel_receive() gives -EPIPE: what was sent before the peer's end is read first. */
#define AT_END(me) (closed[1 - (me)] && empty(to[me]))

/* channel_send() never waits; a peer that is gone gets nothing. */
inline channel_send(from, m)
{
	if
	:: atomic { !closed[1 - from] -> to[1 - from]!m }
	:: closed[1 - from]
	fi
}

inline close_socket(p)
{
	closed[p] = true;
	do
	:: nempty(to[p]) -> to[p]?_
	:: empty(to[p]) -> break
	od
}

inline end_process(p)
{
	/* In this order: it may be the caller's own. */
	atomic { killed[p] = true; in_guest[p] = 0; runs[p] = false }
}

/* area_own() */
inline area_own(from, into, ret)
{
	d_step {
		ret = (owner == from);
		if
		:: owner == from -> owner = into
		:: else
		fi
	}
}

inline word_set(word, value)
{
	d_step {
		if
		:: word == UNSET -> word = value
		:: else
		fi
	}
}

/* KVM_RUN: the property that matters most. */
inline enter_guest(p, vm)
{
	d_step {
		assert(in_guest[1 - p] == 0);
		assert(p == T || !has_run_in_target); /* or it would run with old registers */
		assert(RESTS_WITH(vm));
		assert(p == S || ALL_PUBLISHED);
		has_run_in_target = has_run_in_target || p == T;
		in_guest[p]++
	}
}

/* vm_bind_irqfds() */
inline bind_irqfds(p)
{
	d_step {
		bound[p] = true;
		bound_last = p;
		got_event[p] = got_event[p] || eventfd;
		eventfd = false
	}
}

#ifndef NO_EVENT
/* One interrupt, at any time; of two irqfds on one eventfd the one that was bound last gets it. */
proctype event()
{
	d_step {
		is_signalled = true;
		if
		:: bound[bound_last] -> got_event[bound_last] = true
		:: !bound[bound_last] && bound[1 - bound_last] -> got_event[1 - bound_last] = true
		:: else -> eventfd = true
		fi
	}
}
#endif

inline crash(p)
{
	atomic {
		!killed[p] && !frozen[0] && !frozen[1] ->
		crashed[p] = true;
		was_complete = (p == S -> ALL_PUBLISHED && SENT_FD && owner != KEPT : was_complete);
		end_process(p)
	}
}

inline freeze(p)
{
	atomic {
		!killed[p] && !crashed[1 - p] && !frozen[0] && !frozen[1] ->
		frozen[p] = true;
		runs[p] = false
	}
}

/* What happens to the processes from outside, until that has an end. */
proctype fate()
{
	do
	:: crash(S)
	:: crash(T)
#ifndef NO_FREEZE
	:: freeze(S)
	:: freeze(T)
#endif
	:: break
	od
}

/* The end of a process, by a signal or by exit(). */
proctype kernel(byte p)
{
	killed[p];
	/* A system call that was begun may come to its end. */
#ifndef NO_EVENT
	if
	:: atomic { p == T && is_binding -> bind_irqfds(T) }
	:: true
	fi;
#endif
#ifdef CONFIDENTIAL
	if
	:: d_step { p == T && is_moving -> move_to_target(); is_moving = false }
	:: d_step { true -> is_moving = is_moving && p == S }
	fi;
	atomic {
		has_vm[p] = false;
		target_vm_fd = target_vm_fd && p == T;
		source_vm_fd = source_vm_fd && p == S;
		close_socket(p);
		bound[p] = false;
		reap()
	}
#else
	atomic { close_socket(p); bound[p] = false }
#endif
	dead[p] = true
}

/* ------------------------------------------------------------------ source */

proctype source_vcpu(byte i) provided (runs[S])
{
	/* run_guest(): it is in the guest when the model begins. */
	atomic { kicked -> in_guest[S]-- }

	/* vmr_source_save_vcpu() */
#if VCPUS > 1
	if
	:: atomic { n_out + 1 == VCPUS -> n_out++ }; word_set(all_out, ALL_OUT)
	:: atomic { n_out + 1 < VCPUS -> n_out++ }
	fi;
#else
	word_set(all_out, ALL_OUT);
#endif
	if
	:: all_out == TOO_LATE
	:: all_out == ALL_OUT ->
		/* save_and_publish() */
		if
		:: atomic { STEP(SV(i), SOURCE_SAVE_VCPU); s_failed = true }
		:: atomic { STEP(SV(i), SOURCE_SAVE_VCPU); slot[i] = PUBLISHED }
		fi
	fi;

	/* next_mode() */
	n_idle++;
	run_again -> enter_guest(S, source_vm)
}

proctype source_main() provided (runs[S])
{
	bool won;

	/* vmr_source_dispatch(), or on_timeout() of vmm/upgrade.c. */
	if
	:: atomic { to[S]?HELLO; STEP(SM, SOURCE_HELLO) }
	:: atomic { to[S]?HELLO; STEP(SM, SOURCE_HELLO); goto refused }
	:: to[S]?FAILED -> goto refused
	:: AT_END(S) -> goto refused
	:: true -> goto refused
	fi;

	/* vmr_source_offer() */
	channel_send(S, OFFER);
	if
	:: atomic { STEP(SM, SOURCE_OFFERED) }
	:: atomic { STEP(SM, SOURCE_OFFERED); goto refused }
	fi;

	/* vmr_source_dispatch() */
	if
#ifdef CONFIDENTIAL
#ifdef MUTANT_NO_FD
	:: atomic { to[S]?READY; reap() }
#else
	:: atomic { to[S]?READY; target_vm_fd = true }
#endif
#else
	:: to[S]?READY
#endif
	:: to[S]?FAILED -> goto refused
	:: AT_END(S) -> goto refused
	:: true -> goto refused
	fi;

	/* vmr_source_stop() */
	if
	:: atomic { STEP(SM, SOURCE_READY) }
	:: atomic { STEP(SM, SOURCE_READY); goto refused }
	fi;
	bound[S] = false; /* vm_unbind_irqfds() */
	kicked = true;
	MARK(SM, SOURCE_KICKED)
	if
	:: all_out != UNSET
	:: word_set(all_out, TOO_LATE)
	fi;
	if
	:: all_out == TOO_LATE -> goto take_back
	:: all_out == ALL_OUT
	fi;

	/* save_vm() */
	if
	:: atomic { STEP(SM, SOURCE_SAVE_VM); goto take_back }
	:: atomic { STEP(SM, SOURCE_SAVE_VM); slot[THE_VM] = PUBLISHED }
	fi;

	/* tell_stopped() */
	channel_send(S, STOPPED);
	MARK(SM, SOURCE_SAVED)

	/* source_await_entered() */
	if
	:: to[S]?SAYS_ENTERED -> assert(owner == ENTERED); goto done
	:: to[S]?FAILED
	:: AT_END(S)
	:: dead[T]
	:: s_failed
	:: true
	fi;

take_back:
	/* take_back() */
#ifdef MUTANT_STORES
	owner = KEPT;
	won = true;
#else
	area_own(SOURCE, KEPT, won);
	if
	:: !won -> area_own(TARGET, KEPT, won)
	:: won
	fi;
#endif
	if
	:: !won && !dead[T] -> goto done
	:: !won && dead[T] -> outcome[S] = LOST; goto gone
	:: won
	fi;
	atomic { STEP(SM, SOURCE_KEPT); end_process(T) }
#ifdef CONFIDENTIAL
#ifdef MUTANT_NO_WAIT
	if
	:: true
	:: dead[T]
	fi;
#else
	(dead[T] || is_moved);
#endif
	/* bring_back() */
	if
	:: is_moved ->
		assert(context == VM_T);
		if
		:: d_step { true -> context = VM_CLONE; source_vm = VM_CLONE }
		:: d_step { true -> kvm_refused = true; outcome[S] = LOST } goto gone
		fi
	:: !is_moved
	fi;
	d_step { target_vm_fd = false; reap() }
#elif !defined(MUTANT_SLOW_DEATH)
	/* Within SOURCE_REAP_TIMEOUT_MS; without that, see docs/model.md. */
	dead[T];
#endif
#ifndef NO_EVENT
	bind_irqfds(S);
#endif
#ifndef MUTANT_NO_RING
	/* vm_ring_irqfds() */
	got_event[S] = got_event[S] || (all_loaded && is_signalled);
#endif

	/* finish() of vmm/upgrade.c: vcpus_wait(), vcpus_run(), stay(). */
	n_idle == VCPUS;
	run_again = true;
	atomic { outcome[S] = STAYED; close_socket(S) }
	goto end;

refused:
	/* refuse(), upgrade_free(), vmr_source_free() */
	channel_send(S, CANCEL);
	atomic { outcome[S] = REFUSED; close_socket(S) }
	goto end;

done:
	atomic { outcome[S] = DONE; STEP(SM, SOURCE_DONE) }
	n_idle == VCPUS;

gone:
	end_process(S);
end:
	won = false
}

/* ------------------------------------------------------------------ target */

/*
 * give_up().  All of it is the target's own, except for the slots, whose only readers are the
 * target's; whoever sees one of these goes home, so their order cannot be seen.
 */
inline give_up()
{
	atomic {
		t_failed = true;
		prepared = (prepared == UNSET -> CLOSED : prepared);
		vm_loaded = (vm_loaded == UNSET -> CLOSED : vm_loaded);
		gate = (gate == UNSET -> CLOSED : gate);
		slot[0] = (slot[0] == EMPTY -> ABORTED : slot[0]);
#if VCPUS > 1
		slot[1] = (slot[1] == EMPTY -> ABORTED : slot[1]);
#endif
		slot[THE_VM] = (slot[THE_VM] == EMPTY -> ABORTED : slot[THE_VM])
	}
}

/* one_more_loaded(); ok is false if the target cannot go on. */
inline one_more_loaded(thread, ok, is_last)
{
	d_step { n_loaded++; is_last = (n_loaded == VCPUS + 1) }
	if
	:: !is_last
	:: is_last ->
		if
		:: atomic { STEP(thread, TARGET_LOADED); target_failed = true; ok = false }
#ifdef MUTANT_BINDS_FIRST
		:: atomic { STEP(thread, TARGET_LOADED) }
#else
		:: atomic { STEP(thread, TARGET_LOADED); all_loaded = true }
#endif
		fi;
		if
		:: !ok
		:: ok ->
#ifndef NO_EVENT
			is_binding = true;
			atomic { bind_irqfds(T); is_binding = false }
#endif
#ifdef MUTANT_BINDS_FIRST
			all_loaded = true;
#endif
#ifdef MUTANT_GATE
			gate = OPEN;
#endif
			area_own(SOURCE, TARGET, ok);
			if
			:: ok ->
				MARK(thread, TARGET_OWNER)
				move_context(thread, ok);
				if
				:: ok -> word_set(gate, OPEN)
				:: !ok
				fi
			:: !ok
			fi
		fi
	fi
}

/* move_context() */
inline move_context(thread, ok)
{
#ifdef CONFIDENTIAL
	is_moving = true;
	if
	:: d_step { true -> move_to_target(); is_moving = false }
		if
		:: atomic { STEP(thread, TARGET_MOVED) }
		:: atomic { STEP(thread, TARGET_MOVED); target_failed = true; ok = false }
		fi
	:: d_step { true -> is_moving = false; target_failed = true; ok = false }
	fi
#else
	skip
#endif
}

proctype target_vcpu(byte i) provided (runs[T])
{
	bool ok = true, is_last;

	/* vcpus_start(), then prepare_vcpu() */
	threads_run;
	if
	:: atomic {
		true ->
		n_prepared++;
		prepared = (n_prepared == VCPUS && prepared == UNSET -> OPEN : prepared)
	   }
	:: atomic { true -> target_failed = true }; goto failed
	fi;

	/* load_part(), area_take() */
	if
	:: slot[i] == PUBLISHED
	:: slot[i] == ABORTED -> goto failed
	fi;
	if
	:: vm_loaded == OPEN
	:: vm_loaded == CLOSED -> goto failed
	fi;

	/* load_vcpu() */
	if
	:: atomic { STEP(TV(i), TARGET_LOAD_VCPU) }
	:: atomic { STEP(TV(i), TARGET_LOAD_VCPU); target_failed = true; goto failed }
	fi;
	one_more_loaded(TV(i), ok, is_last);

	/* vmr_target_load_vcpu() */
	if
	:: !ok -> goto failed
	:: ok && gate == CLOSED -> goto end
	:: ok && gate == OPEN
	fi;

	/* enter() */
#ifndef MUTANT_NO_ENTERED
	area_own(TARGET, ENTERED, ok);
	if
	:: ok ->
		MARK(TV(i), TARGET_ENTERED)
		skip
	:: !ok && owner == ENTERED
	:: !ok && owner != ENTERED -> goto failed
	fi;
#endif
	enter_guest(T, VM_T);
	goto end;
failed:
	give_up();
end:
	atomic { ok = false; is_last = false }
}

proctype target_main() provided (runs[T])
{
	bool ok = true, is_last, is_cancelled;

	/* vmr_target_accept() */
	channel_send(T, HELLO);
	if
	:: atomic { to[T]?OFFER; STEP(TM, TARGET_ACCEPTED) }
	:: atomic { to[T]?OFFER; STEP(TM, TARGET_ACCEPTED); goto refused }
	:: to[T]?CANCEL -> goto refused
	:: AT_END(T) -> goto refused
	:: true -> goto refused
	fi;

	/* vmr_target_build(), vcpus_start() */
	if
#ifdef CONFIDENTIAL
	:: atomic { STEP(TM, TARGET_BUILT); has_vm[T] = true }
#else
	:: atomic { STEP(TM, TARGET_BUILT) }
#endif
	:: atomic { STEP(TM, TARGET_BUILT); goto refused }
	fi;
	threads_run = true;

	/* vmr_target_ready() */
	if
	:: prepared == OPEN
	:: prepared == CLOSED -> goto refused
	:: true -> goto refused
	fi;
	if
	:: atomic { STEP(TM, TARGET_READY) }
	:: atomic { STEP(TM, TARGET_READY); goto refused }
	fi;
	if
	:: atomic { !closed[S] -> to[S]!READY }
	:: closed[S] -> goto refused
	fi;

	/* vmr_target_finish(), await_stopped(): no deadline, a source that lives owns the guest. */
	if
#ifdef CONFIDENTIAL
	:: atomic { to[T]?STOPPED; source_vm_fd = true }
#else
	:: to[T]?STOPPED
#endif
	:: to[T]?CANCEL -> is_cancelled = true; goto failed
#ifdef MUTANT_INCOMPLETE
	:: AT_END(T)
#else
	:: AT_END(T) ->
		if
		:: ALL_PUBLISHED && SENT_FD
		:: !(ALL_PUBLISHED && SENT_FD) -> goto failed
		fi
#endif
	:: t_failed -> goto failed
	fi;

	/* load_vm() */
	if
	:: slot[THE_VM] == PUBLISHED
	:: slot[THE_VM] == ABORTED -> goto failed
	fi;
	if
	:: atomic { STEP(TM, TARGET_LOAD_VM); vm_loaded = (vm_loaded == UNSET -> OPEN : vm_loaded) }
	:: atomic { STEP(TM, TARGET_LOAD_VM); target_failed = true; goto failed }
	fi;
	one_more_loaded(TM, ok, is_last);
	if
	:: !ok -> is_cancelled = !target_failed; goto failed
	:: ok
	fi;

	/* await_entered() */
	if
	:: t_failed -> goto failed
	:: owner == ENTERED
	:: AT_END(T) && !(ALL_PUBLISHED && SENT_FD) -> goto failed
	fi;
	channel_send(T, SAYS_ENTERED);
	atomic { outcome[T] = DONE; STEP(TM, TARGET_DONE) }
	goto end;

failed:
	give_up();
	channel_send(T, FAILED);
	if
	:: owner == KEPT || is_cancelled -> outcome[T] = STAYED
	:: owner != KEPT && !is_cancelled ->
		if
		:: dead[S] -> outcome[T] = LOST
		:: true -> outcome[T] = STAYED
		fi
	fi;
	end_process(T);
	goto end;

refused:
	/* receive() of vmm/receive.c */
	channel_send(T, FAILED);
	atomic { outcome[T] = REFUSED; end_process(T) }
end:
	atomic { ok = false; is_last = false; is_cancelled = false }
}

/* ------------------------------------------------------------------- judge */

#define LIVES_IN(p) (!killed[p] && in_guest[p] == VCPUS)
#define IS_ASLEEP(p) (frozen[p] && !killed[p])

/* Nothing can move any more. */
proctype judge()
{
#ifdef TRACE
	ALL_TAKEN;
	assert(!ALL_TAKEN)
#else
	timeout ->
	d_step {
	/* The guest runs, in one process, or its end was to be expected. */
	assert(!(LIVES_IN(S) && LIVES_IN(T)));
	assert(LIVES_IN(S) || LIVES_IN(T)
		/* A process that has it is only frozen, and goes on when it is thawed. */
		|| (IS_ASLEEP(S) && owner != ENTERED)
		|| (IS_ASLEEP(T) && owner == ENTERED)
		/* The source had all of it, or nobody was left who could finish. */
		|| (crashed[S] && (!was_complete || killed[T] || IS_ASLEEP(T)))
		/* It ran in the target. */
		|| (crashed[T] && owner == ENTERED)
		/* The way back was barred by KVM. */
		|| kvm_refused);
	/* A source that crashed with its state complete is not needed. */
	assert(!(crashed[S] && was_complete && !crashed[T] && !frozen[T] && !target_failed
		 && !LIVES_IN(T)));
	/* A target that dies before it has entered takes nothing along. */
	assert(!(crashed[T] && owner != ENTERED && !crashed[S] && !frozen[S] && !LIVES_IN(S)
		 && !kvm_refused));

	/* Both sides come to an end, and tell the truth. */
	assert(outcome[S] != NONE || !runs[S]);
	assert(outcome[T] != NONE || !runs[T] || IS_ASLEEP(S));
	assert(outcome[S] != DONE || (owner == ENTERED && (LIVES_IN(T) || crashed[T] || frozen[T])));
	assert(outcome[S] != STAYED || (owner == KEPT && (LIVES_IN(S) || crashed[S] || frozen[S])));
	assert(outcome[S] != REFUSED || (owner == SOURCE && (LIVES_IN(S) || crashed[S] || frozen[S])
					 && (killed[T] || frozen[T])));
	assert(outcome[S] != LOST || ((crashed[T] && owner == ENTERED) || kvm_refused));
	assert(outcome[T] != DONE || owner == ENTERED);
	assert(outcome[T] == DONE || owner != ENTERED || killed[T] || frozen[T]);
	assert(outcome[T] != LOST || (dead[S] && !LIVES_IN(S) && !LIVES_IN(T)));
	assert((outcome[T] != STAYED && outcome[T] != REFUSED) || owner != ENTERED);

	/* No interrupt is lost with the guest alive. */
	assert(!is_signalled || !LIVES_IN(S) || got_event[S] || (IS_ASLEEP(S) && eventfd));
	assert(!is_signalled || !LIVES_IN(T) || got_event[S] || got_event[T]);
#ifdef CONFIDENTIAL
	/* The context is where the guest is, and is destroyed with it only. */
	assert(!LIVES_IN(S) || context == source_vm);
	assert(!LIVES_IN(T) || context == VM_T);
	assert(context != GONE || (!LIVES_IN(S) && !LIVES_IN(T)));
#endif
	}
#endif
}

init
{
	byte i;

	atomic {
#ifdef TRACE
		c_code { read_trace(now.recorded); };
#endif
		bound[S] = true;
		in_guest[S] = VCPUS;
#ifdef CONFIDENTIAL
		has_vm[S] = true;
#endif
		run source_main();
		run target_main();
		for (i : 0 .. VCPUS - 1) {
			run source_vcpu(i);
			run target_vcpu(i)
		}
		run kernel(S);
		run kernel(T);
		run fate();
#ifndef NO_EVENT
		run event();
#endif
		run judge()
	}
}
