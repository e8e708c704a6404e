/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rescue of a guest whose VMM was killed, as a model for spin.
 *
 * Theory of operation.  VMM 0 runs the guest and arms (lib/rescue.c); VMMs 1 and 2 are targets of
 * the keeper (lib/keeper.c) or, with UPGRADE, VMM 1 first of VMM 0, and arm when they have entered.
 * Each arming has a state area and a guardian of its own.  The relay itself is relay.pml's matter:
 * here a VMM is one thread, and what a target does is as coarse as the ownership word allows.
 * Deadlines, failures, deaths, `atomic` and judge(): as in relay.pml.  Parameters: UPGRADE or
 * CONFIDENTIAL or KEEPER_DIES (with one target only), MUTANT_*; see docs/model.md.
 */
#if defined(UPGRADE) && defined(CONFIDENTIAL)
#error "an upgrade of a confidential guest is in relay.pml only"
#endif
#define ARMINGS	  4 /* VMM 0 arms a second time, as 3, after an upgrade that failed */
#define NOTHING	  4
#define PARK	  3 /* the keeper's own VM; those of the VMMs have their numbers */
#define VMM_OF(a) (a == 3 -> 0 : a)
#ifdef KEEPER_DIES
#define LAST 1 /* VMM */
#else
#define LAST 2
#endif

mtype:owner = { SOURCE, TARGET, ENTERED, KEPT };
mtype:message = { OFFER, KEEP, CANCEL, READY, STOPPED, SAYS_ENTERED, FAILED };
mtype:keeper = { WAITS, SERVES, HAS_ENDED, SAYS_LOST };

/* VMMs. */
bool runs[3] = true;
bool killed[3], closed[4], dead[3];
bool in_guest[3];
bool is_started[3];

/* Guardians, and their areas. */
bool guards[ARMINGS], guardian_dead[ARMINGS];
mtype:owner owner[ARMINGS] = SOURCE;
bool is_saved[ARMINGS];

/* The keeper, and its sockets. */
bool keeper_runs = true, keeper_closed;
mtype:keeper keeper = WAITS;
byte held = NOTHING; /* an arming */
byte offered[3] = NOTHING; /* to a target */
bool is_armed;
chan to_keeper = [8] of { mtype:message, byte };
chan to_target[3] = [2] of { mtype:message };
chan from_target[3] = [3] of { mtype:message };
bool is_hung_up[3]; /* the keeper's end is closed, */
bool was_unread[3]; /* with something in it */

/* Between VMM 0 and VMM 1. */
mtype:owner relay = SOURCE;
bool is_upgrading, is_complete, source_is_gone;

/* Ghosts. */
bool is_protected[3]; /* armed, and not disarmed */
bool has_entered[3];
bool is_refused[3];   /* the keeper said so, or that it is kept */
bool is_excused;      /* somebody died whose death may lose the guest */
byte age, saved_age[ARMINGS]; /* how often the guest was entered: what was saved before is stale */

#ifdef CONFIDENTIAL
byte context;         /* the VM that has it */
byte keeper_vm = NOTHING, target_vm = NOTHING; /* the keeper's fds */
byte source_vm[3] = NOTHING; /* a target's fd */
bool is_moving[3];
#define RESTS_WITH(vm) (context == (vm))

/* A file descriptor was closed: a VM without any is destroyed, and the context that it has. */
inline reap()
{
	context = ((context < NOTHING && closed[context] && !guards[context]
		    && !(context == 0 && guards[3]) && keeper_vm != context && target_vm != context
		    && source_vm[1] != context && source_vm[2] != context
		    && !(to_keeper??[KEEP, eval(context)]) && !(context == 0 && to_keeper??[KEEP, 3])
		    && !(context == 1 && from_target[1]??[READY])
		    && !(context == 2 && from_target[2]??[READY])) -> NOTHING : context)
}
#else
#define RESTS_WITH(vm) true
#define reap() skip
#endif

inline area_own(word, from, into, ret)
{
	d_step {
		ret = (word == from);
		if
		:: word == from -> word = into
		:: else
		fi
	}
}

/* KVM_RUN, with state of that age. */
inline enter_guest(who, of_age)
{
	d_step {
		assert(!in_guest[0] && !in_guest[1] && !in_guest[2]);
		assert(of_age == age);
		assert(RESTS_WITH(who));
		assert(!is_refused[who]);
		in_guest[who] = true;
		age++
	}
}

inline end_vmm(i)
{
	atomic { in_guest[i] = false; killed[i] = true; runs[i] = false }
}

/* ----------------------------------------------------- what happens to them */

/* Of a VMM that is armed, and of a target that has not entered, the death loses nothing. */
inline crash(i)
{
	atomic {
		!killed[i] ->
		is_excused = is_excused || (!is_protected[i]
			&& (i == 0 || has_entered[i] || (i == 1 && is_upgrading && killed[0])));
		end_vmm(i)
	}
}

proctype fate()
{
	do
	:: crash(0)
	:: crash(1)
#if LAST > 1
	:: crash(2)
#endif
#ifdef KEEPER_DIES
	:: atomic { keeper_runs -> is_excused = true; keeper_runs = false }
	:: atomic { guards[0] -> is_excused = true; guards[0] = false }
	:: atomic { guards[1] -> is_excused = true; guards[1] = false }
#endif
	:: break
	od
}

proctype kernel(byte i)
{
	killed[i];
#ifdef CONFIDENTIAL
	/* A system call that was begun may come to its end. */
	if
	:: atomic { is_moving[i] && context == source_vm[i] -> context = i }
	:: true
	fi;
	atomic { is_moving[i] = false; source_vm[i] = NOTHING; closed[i] = true; reap() }
#else
	closed[i] = true;
#endif
	dead[i] = true
}

#ifdef KEEPER_DIES
proctype kernel_of_keeper()
{
	!keeper_runs;
	atomic {
		do
		:: nempty(to_keeper) -> to_keeper?_, _
		:: empty(to_keeper) -> break
		od;
		was_unread[1] = was_unread[1] || (!is_hung_up[1] && nempty(from_target[1]));
		was_unread[2] = was_unread[2] || (!is_hung_up[2] && nempty(from_target[2]));
		is_hung_up[1] = true;
		is_hung_up[2] = true;
#ifdef CONFIDENTIAL
		keeper_vm = NOTHING;
		target_vm = NOTHING;
		reap();
#endif
		keeper_closed = true
	}
}
#endif

/* ---------------------------------------------------- guardian, lib/rescue.c */

/* guard() */
proctype guardian(byte a)
{
	if
	:: atomic { dead[VMM_OF(a)] && guards[a] -> is_saved[a] = true; saved_age[a] = age }
	:: !guards[a]
	fi;
	atomic { guards[a] = false; reap() }
	guardian_dead[a] = true
}

/* ---------------------------------------------------- keeper, lib/keeper.c */

#ifdef CONFIDENTIAL
#define forget() held = NOTHING; is_armed = false; keeper_vm = NOTHING; reap()
#else
#define forget() held = NOTHING; is_armed = false
#endif

/* take_message() */
inline take_message()
{
	if
	:: atomic { to_keeper?OFFER, a -> forget(); held = a }
#ifdef CONFIDENTIAL
	:: atomic { to_keeper?KEEP, a -> is_armed = true; keeper_vm = VMM_OF(a) }
#else
	:: atomic { to_keeper?KEEP, a -> is_armed = true }
#endif
#ifdef UPGRADE
	:: atomic { to_keeper?CANCEL, a -> forget() }
#endif
	fi
}

#define SOURCE_IS_DEAD (held != NOTHING && dead[VMM_OF(held)])
/* Nobody has the other end; the offer that is held would. */
#define IS_AT_END (len(to_keeper) == 0 && held == NOTHING && closed[0] \
	&& (closed[1] || !is_started[1]) && (closed[2] || !is_started[2]))

proctype the_keeper() provided (keeper_runs)
{
	bool is_dead, won;
	byte a, t = 0;

wait:
	/* vmr_keeper_wait() */
#ifndef MUTANT_LOOKS_LATE
	is_dead = SOURCE_IS_DEAD;
#endif
	if
	:: nempty(to_keeper) -> take_message(); goto wait
	:: empty(to_keeper) ->
#ifdef MUTANT_LOOKS_LATE
		is_dead = SOURCE_IS_DEAD;
#endif
		if
		:: is_dead && is_armed
		:: atomic { is_dead && !is_armed -> forget() } goto wait
		:: !is_dead && IS_AT_END -> keeper = HAS_ENDED; goto end
		:: !is_dead && !IS_AT_END ->
			(len(to_keeper) > 0 || SOURCE_IS_DEAD || IS_AT_END);
			goto wait
		fi
	fi;

	/* await_guardian() */
	guardian_dead[held];
	if
#if defined(KEEPER_DIES) || defined(UPGRADE)
	:: !is_saved[held] -> atomic { keeper = SAYS_LOST; forget() } goto end
#endif
	:: is_saved[held]
	fi;

serve:
	/* vmm/keeper.c: the guest is "crashed" until somebody asks for its rescue. */
	keeper = SERVES;
	if
	:: is_started[LAST] -> goto end
	:: atomic {
		!is_started[LAST] ->
		t = (is_started[1] -> 2 : 1);
		is_started[t] = true;
		offered[t] = held
	   }
	fi;

	/* vmr_keeper_hand_over(), prepare() */
	if
#ifdef CONFIDENTIAL
	:: atomic { from_target[t]?READY -> target_vm = t }
#else
	:: from_target[t]?READY
#endif
	:: from_target[t]?FAILED -> goto refused
	:: closed[t] && empty(from_target[t]) -> goto refused
	:: true -> goto refused
	fi;

	/* transfer() */
	to_target[t]!STOPPED;
	if
	:: from_target[t]?SAYS_ENTERED -> assert(owner[held] == ENTERED); goto done
	:: from_target[t]?FAILED
	:: closed[t] && empty(from_target[t])
	:: dead[t]
	:: true
	fi;

	/* take_back() */
	area_own(owner[held], SOURCE, KEPT, won);
	if
	:: !won -> area_own(owner[held], TARGET, KEPT, won)
	:: won
	fi;
	if
	:: !won ->
		if
		:: dead[t] ->
#ifndef MUTANT_BURIES
			/* It may have armed before it died. */
			if
			:: nempty(to_keeper) -> goto done
			:: empty(to_keeper)
			fi;
#endif
			atomic { keeper = SAYS_LOST; is_hung_up[t] = true; forget() }
			goto end
		:: true -> goto done
		fi
	:: won
	fi;
#ifdef MUTANT_SETS_EARLY
	area_own(owner[held], KEPT, SOURCE, won);
#endif
	end_vmm(t);
#ifndef MUTANT_NO_PARK_WAIT
	dead[t];
#endif
#ifdef CONFIDENTIAL
	/* park_context() */
	atomic {
		if
		:: context == target_vm || context == keeper_vm -> context = PARK
		:: else
		fi;
		assert(context == PARK);
		keeper_vm = PARK;
		target_vm = NOTHING;
		reap()
	}
#endif
	atomic { area_own(owner[held], KEPT, SOURCE, won); is_hung_up[t] = true; is_refused[t] = true }
	goto serve;

refused:
	to_target[t]!CANCEL;
	atomic {
		is_refused[t] = true;
		was_unread[t] = nempty(from_target[t]);
		is_hung_up[t] = true;
#ifdef CONFIDENTIAL
		target_vm = NOTHING;
		reap()
#endif
	}
	goto serve;

done:
	atomic { forget(); keeper = WAITS; is_hung_up[t] = true;
#ifdef CONFIDENTIAL
		target_vm = NOTHING;
		reap()
#endif
	}
	goto wait;
end:
	is_dead = false
}

/* --------------------------------------------------------------------- VMM */

/* A message to the keeper; without one the guest goes on unprotected. */
inline tell_keeper(m, as_what)
{
	if
	:: atomic { !keeper_closed -> to_keeper!m, as_what }
	:: keeper_closed
	fi
}

/* vmr_rescue_arm() */
inline arm(who, as)
{
	tell_keeper(OFFER, as);
	atomic { guards[as] = true; run guardian(as) }
	/* With KEEP in the keeper's socket the guest is safe. */
	if
	:: atomic { !keeper_closed -> to_keeper!KEEP, as; is_protected[who] = true }
	:: keeper_closed
	fi
}

/* vmr_rescue_free() */
inline disarm(who, as)
{
	is_protected[who] = false;
	guards[as] = false;
	guardian_dead[as];
	tell_keeper(CANCEL, as)
}

proctype vmm_0() provided (runs[0])
{
	bool won;

	arm(0, 0);
#ifdef UPGRADE
	/* finish() of vmm/upgrade.c; VMM 1 is ready. */
	atomic { !is_started[1] -> is_started[1] = true; is_upgrading = true }
#ifndef MUTANT_DISARMS_LATE
	disarm(0, 0);
#endif
	in_guest[0] = false;
	atomic { is_complete = true; saved_age[3] = age }
	if
	:: relay == ENTERED -> goto done
	:: dead[1]
	:: true
	fi;
	area_own(relay, SOURCE, KEPT, won);
	if
	:: !won -> area_own(relay, TARGET, KEPT, won)
	:: won
	fi;
	if
	:: !won -> goto done
	:: won
	fi;
	end_vmm(1);
	dead[1];
#ifdef MUTANT_DISARMS_LATE
	disarm(0, 0);
#endif
	enter_guest(0, saved_age[3]);
	atomic { is_upgrading = false; saved_age[3] = 0 }
	arm(0, 3);
	goto end;
done:
#ifdef MUTANT_DISARMS_LATE
	disarm(0, 0);
#endif
	end_vmm(0);
end:
#endif
	won = false
}

proctype target(byte i) provided (runs[i])
{
	bool ok;

	is_started[i];
#ifdef UPGRADE
	if
	:: offered[i] == NOTHING -> goto upgrade
	:: offered[i] != NOTHING
	fi;
#endif

	/* vmr_target_ready() */
	if
	:: true -> goto failed
	:: !is_hung_up[i] -> from_target[i]!READY
	:: is_hung_up[i] -> goto failed
	fi;

	/* await_stopped(); from a keeper the state is complete before the relay begins. */
	if
#ifdef CONFIDENTIAL
	:: atomic { to_target[i]?STOPPED -> source_vm[i] = keeper_vm }
#else
	:: to_target[i]?STOPPED
#endif
	:: to_target[i]?CANCEL -> goto failed
#ifdef MUTANT_RESET
	/* Without a second look ECONNRESET hides what was sent before. */
	:: is_hung_up[i] && was_unread[i]
#endif
	:: is_hung_up[i] && empty(to_target[i])
	fi;
#ifdef CONFIDENTIAL
	if
	:: source_vm[i] == NOTHING -> goto failed
	:: source_vm[i] != NOTHING
	fi;
#endif

	/* one_more_loaded() */
	if
	:: true -> goto failed
	:: area_own(owner[offered[i]], SOURCE, TARGET, ok)
	fi;
	if
	:: !ok -> goto failed
	:: ok
	fi;
#ifdef CONFIDENTIAL
	/* move_context() */
	is_moving[i] = true;
	atomic {
		is_moving[i] = false;
		if
		:: context == source_vm[i] -> context = i
		:: else
		fi
	}
	if
	:: context != i -> goto failed
	:: context == i
	:: true -> goto failed
	fi;
#endif
	/* enter() */
	atomic { area_own(owner[offered[i]], TARGET, ENTERED, ok); has_entered[i] = ok }
	if
	:: !ok -> goto failed
	:: ok
	fi;
	enter_guest(i, saved_age[offered[i]]);
	if
	:: atomic { !is_hung_up[i] -> from_target[i]!SAYS_ENTERED }
	:: is_hung_up[i]
	fi;
#ifdef UPGRADE
	goto owns;

upgrade:
	if
	:: is_complete
	:: dead[0] && !is_complete -> goto failed
	:: true -> goto failed
	fi;
	area_own(relay, SOURCE, TARGET, ok);
	if
	:: !ok -> goto failed
	:: ok
	fi;
	atomic { area_own(relay, TARGET, ENTERED, ok); has_entered[i] = ok }
	if
	:: !ok -> goto failed
	:: ok
	fi;
	enter_guest(i, saved_age[3]);
owns:
#endif
	/* own() of vmm/receive.c, rescue_rearm() */
	arm(i, i);
	goto end;
failed:
	if
	:: !is_hung_up[i] -> from_target[i]!FAILED
	:: is_hung_up[i]
	fi;
	/* With the source dead there was nobody else to take it. */
	atomic {
		is_excused = is_excused || (offered[i] == NOTHING && killed[0]) || !keeper_runs;
		end_vmm(i)
	}
end:
	ok = false
}

/* ------------------------------------------------------------------- judge */

proctype judge()
{
	timeout ->
	d_step {
	/* It runs, or can be rescued, or its end was to be expected. */
	assert(in_guest[0] || in_guest[1] || in_guest[2] || is_excused
		|| (keeper == SERVES && keeper_runs && is_saved[held % ARMINGS]
		    && owner[held % ARMINGS] == SOURCE && RESTS_WITH(keeper_vm)));
	/* What the keeper says is true. */
	assert(!(keeper == SAYS_LOST || keeper == SERVES) || !keeper_runs
	       || (!in_guest[0] && !in_guest[1] && !in_guest[2]));
	assert(keeper != HAS_ENDED || !keeper_runs
	       || ((!is_protected[0] || killed[0]) && (!is_protected[1] || killed[1])
		   && (!is_protected[2] || killed[2])));
#ifdef CONFIDENTIAL
	/* The context is where the guest is. */
	assert(!in_guest[0] || context == 0);
	assert(!in_guest[1] || context == 1);
	assert(!in_guest[2] || context == 2);
#endif
	}
}

init
{
	atomic {
		in_guest[0] = true;
		age = 1;
		closed[PARK] = true;
		run the_keeper();
		run vmm_0();
		run target(1);
#if LAST > 1
		run target(2);
#endif
		run kernel(0);
		run kernel(1);
#if LAST > 1
		run kernel(2);
#endif
#ifdef KEEPER_DIES
		run kernel_of_keeper();
#endif
		run fate();
		run judge()
	}
}
