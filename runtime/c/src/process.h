/* The child process: started, signalled, waited for, and nothing else of the host's touched. */
#ifndef SCANSIDE_PROCESS_H
#define SCANSIDE_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct process {
    pid_t pid;  /* 0 where there is none */
    int pidfd;  /* -1 where the kernel has none (before Linux 5.3) */
    int status; /* as waitpid gives it, once `known` */
    bool known; /* the status was had; false where the host reaped the child itself */
};

/* What becomes the child's stdin and stdout, and its stderr. */
struct process_descriptors {
    int input_output;
    int error; /* -1: the host's own */
};

/* The monotonic clock in nanoseconds. */
int64_t scn_monotonic_ns(void);

/* A copy of a descriptor above the standard three, close-on-exec; the original is closed. */
int scn_descriptor_above_standard(int descriptor);

/* Start a program; 0, or the errno of posix_spawn. `environment` NULL: the host's own. */
int scn_process_start(struct process *process, const char *executable, char *const *arguments,
                      char *const *environment, const struct process_descriptors *descriptors);

/* Send a signal to a child that has not been reaped; else do nothing. */
void scn_process_signal(struct process *process, int signal_number);

/* Wait until the child has ended; true once it has (and is reaped), false at the deadline. */
bool scn_process_wait(struct process *process, int64_t deadline_ns);

/* Say in words how it ended: "exited with 70", "was killed by signal 9". */
void scn_process_ending(const struct process *process, char *text, size_t size);

#endif
