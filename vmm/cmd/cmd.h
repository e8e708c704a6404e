/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One function per verb; each parses its own arguments with argp and returns the exit code. */
#ifndef VMM_CMD_H
#define VMM_CMD_H

int cmd_run(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_console(int argc, char **argv);
int cmd_pause(int argc, char **argv);
int cmd_resume(int argc, char **argv);
int cmd_stop(int argc, char **argv);
int cmd_upgrade(int argc, char **argv);
int cmd_rescue(int argc, char **argv);
int cmd_rollback(int argc, char **argv);
int cmd_host(int argc, char **argv);
int cmd_measure(int argc, char **argv);
int cmd_secret(int argc, char **argv);
int cmd_attest(int argc, char **argv);
int cmd_version(int argc, char **argv);
int cmd_receive(int argc, char **argv); /* internal: the new process of an upgrade */

#endif
