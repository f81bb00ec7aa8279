/* posix_spawn, pidfd and waitpid on one child: see process.h. */
#define _GNU_SOURCE /* syscall */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum {
    /* Above the standard three, so that no dup2 overwrites a source. */
    LOWEST_DESCRIPTOR = 3,
    /* Between two looks at a child where there is no pidfd to wait on. */
    LOOK_AGAIN_NS = 2 * 1000 * 1000
};

int64_t scn_monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int scn_descriptor_above_standard(int descriptor)
{
    if (descriptor < 0 || descriptor >= LOWEST_DESCRIPTOR)
        return descriptor;
    int moved = fcntl(descriptor, F_DUPFD_CLOEXEC, LOWEST_DESCRIPTOR);
    int why = errno;
    close(descriptor);
    errno = why;
    return moved;
}

/* Whatever the host blocks or ignores, the child begins as from a shell; and Ctrl-C in the
 * host's terminal is the host's: a group of its own keeps it from the child. */
static int set_attributes(posix_spawnattr_t *attributes)
{
    static const int defaults[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGPIPE, SIGALRM,
                                   SIGTERM, SIGUSR1, SIGUSR2, SIGCHLD};
    sigset_t none, to_default;
    sigemptyset(&none);
    sigemptyset(&to_default);
    for (size_t n = 0; n < sizeof defaults / sizeof *defaults; n++)
        sigaddset(&to_default, defaults[n]);
    int failed = posix_spawnattr_setsigmask(attributes, &none);
    if (failed == 0)
        failed = posix_spawnattr_setsigdefault(attributes, &to_default);
    if (failed == 0)
        failed = posix_spawnattr_setpgroup(attributes, 0);
    if (failed == 0)
        failed = posix_spawnattr_setflags(
            attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    return failed;
}

static int set_descriptors(posix_spawn_file_actions_t *actions,
                           const struct process_descriptors *descriptors)
{
    int failed = posix_spawn_file_actions_adddup2(actions, descriptors->input_output, 0);
    if (failed == 0)
        failed = posix_spawn_file_actions_adddup2(actions, descriptors->input_output, 1);
    if (failed == 0 && descriptors->error >= 0)
        failed = posix_spawn_file_actions_adddup2(actions, descriptors->error, 2);
    return failed;
}

int scn_process_start(struct process *process, const char *executable, char *const *arguments,
                      char *const *environment, const struct process_descriptors *descriptors)
{
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    int failed = posix_spawnattr_init(&attributes);
    if (failed != 0)
        return failed;
    failed = posix_spawn_file_actions_init(&actions);
    if (failed == 0) {
        failed = set_attributes(&attributes);
        if (failed == 0)
            failed = set_descriptors(&actions, descriptors);
        if (failed == 0)
            failed = posix_spawn(&process->pid, executable, &actions, &attributes, arguments,
                                 environment != NULL ? environment : environ);
        posix_spawn_file_actions_destroy(&actions);
    }
    posix_spawnattr_destroy(&attributes);
    process->pidfd = -1;
    process->known = false;
    if (failed != 0)
        process->pid = 0;
#ifdef SYS_pidfd_open
    else
        process->pidfd =
            scn_descriptor_above_standard((int)syscall(SYS_pidfd_open, process->pid, 0));
#endif
    return failed;
}

/* Reap the child if it has ended. A host that ignores SIGCHLD, or waits for every child, has
 * taken its status: then the process is gone and its number may be somebody else's. */
static bool reap(struct process *process)
{
    if (process->pid == 0)
        return true;
    int status = 0;
    pid_t found;
    do
        found = waitpid(process->pid, &status, WNOHANG);
    while (found < 0 && errno == EINTR);
    if (found == 0)
        return false;
    process->known = found == process->pid;
    process->status = status;
    process->pid = 0;
    if (process->pidfd >= 0)
        close(process->pidfd);
    process->pidfd = -1;
    return true;
}

void scn_process_signal(struct process *process, int signal_number)
{
    if (reap(process))
        return;
#ifdef SYS_pidfd_send_signal
    if (process->pidfd >= 0) {
        syscall(SYS_pidfd_send_signal, process->pidfd, signal_number, NULL, 0);
        return;
    }
#endif
    kill(process->pid, signal_number);
}

bool scn_process_wait(struct process *process, int64_t deadline_ns)
{
    while (!reap(process)) {
        int64_t left = deadline_ns - scn_monotonic_ns();
        if (left <= 0)
            return false;
        if (process->pidfd >= 0) {
            struct pollfd ended = {process->pidfd, POLLIN, 0};
            int64_t milliseconds = (left + 999999) / 1000000;
            poll(&ended, 1, milliseconds > 60000 ? 60000 : (int)milliseconds);
        } else {
            struct timespec pause = {0, left < LOOK_AGAIN_NS ? (long)left : LOOK_AGAIN_NS};
            nanosleep(&pause, NULL);
        }
    }
    return true;
}

void scn_process_ending(const struct process *process, char *text, size_t size)
{
    if (process->pid != 0)
        snprintf(text, size, "is still running");
    else if (!process->known)
        snprintf(text, size, "ended (its status went to the host, which reaps every child)");
    else if (WIFSIGNALED(process->status))
        snprintf(text, size, "was killed by signal %d", WTERMSIG(process->status));
    else
        snprintf(text, size, "exited with %d", WEXITSTATUS(process->status));
}
