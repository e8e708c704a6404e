/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xsave.h - where XSAVE puts what: 13.2.  Offsets and sizes are also what CPUID leaf 0xd says. */
#ifndef SOFTKVM_CPU_XSAVE_H
#define SOFTKVM_CPU_XSAVE_H

#define XSAVE_HEADER	 512
#define XSAVE_HEADER_LEN 64
#define XSAVE_YMM	 576
#define XSAVE_YMM_LEN	 256
#define XSAVE_PKRU	 832 /* in standard format, as on processors without AVX-512 */
#define XSAVE_PKRU_LEN	 8
#define XSAVE_LEN	 840

#endif
