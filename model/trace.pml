/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * With -DTRACE the model takes a named step only if the trace of a real relay has it there: the
 * environment variable TRACE is a row of pairs, thread and step, in the order of each thread.  That
 * judge() finds all of them taken, which it reports as an error, is what is to be shown.  Names are
 * those of fault_reach() in lib/.
 */
#define TRACE_LEN 12 /* of one thread, and 0 at its end */

byte recorded[TRACE_LEN * (2 + 2 * VCPUS)];
byte at[2 + 2 * VCPUS];

#define STEP(thread, step) recorded[(thread) * TRACE_LEN + at[thread]] == step; at[thread]++
#define MARK(thread, step) atomic { STEP(thread, step) }

#define SOURCE_HELLO	 1
#define SOURCE_OFFERED	 2
#define SOURCE_READY	 3
#define SOURCE_KICKED	 4
#define SOURCE_SAVE_VCPU 5
#define SOURCE_SAVE_VM	 6
#define SOURCE_SAVED	 7
#define SOURCE_KEPT	 8
#define SOURCE_DONE	 9
#define TARGET_ACCEPTED	 10
#define TARGET_BUILT	 11
#define TARGET_READY	 12
#define TARGET_LOAD_VCPU 13
#define TARGET_LOAD_VM	 14
#define TARGET_LOADED	 15
#define TARGET_OWNER	 16
#define TARGET_MOVED	 17
#define TARGET_ENTERED	 18
#define TARGET_DONE	 19

#if VCPUS == 1
#define ALL_TAKEN (IS_TAKEN(0) && IS_TAKEN(1) && IS_TAKEN(2) && IS_TAKEN(3))
#else
#define ALL_TAKEN (IS_TAKEN(0) && IS_TAKEN(1) && IS_TAKEN(2) && IS_TAKEN(3) \
		   && IS_TAKEN(4) && IS_TAKEN(5))
#endif
#define IS_TAKEN(thread) (recorded[(thread) * TRACE_LEN + at[thread]] == 0)

c_code {
	static void read_trace(unsigned char *into)
	{
		const char *text = getenv("TRACE");
		unsigned thread, step, n[2 + 2 * 2] = {0};
		int len;

		for (; text && sscanf(text, "%u %u%n", &thread, &step, &len) == 2; text += len)
			if (n[thread] < 11)
				into[thread * 12 + n[thread]++] = step;
	}
}
