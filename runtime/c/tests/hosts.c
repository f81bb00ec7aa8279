/* Hosts that are not like others, and what the library leaves in them. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host.h"

static void killed_and_restarted(void)
{
    int before = open_descriptors();
    scanside_session *handle = open_with(2);
    int opened = open_descriptors();
    for (uint32_t turn = 0; turn < 3; turn++) {
        scanside_info info;
        scanside_info_init(&info, sizeof info);
        CHECK(scanside_get_info(handle, &info) == SCANSIDE_OK);
        CHECK(infer(handle, turn, 5000) == SCANSIDE_OK);
        CHECK(kill((pid_t)info.pid, SIGKILL) == 0);
        int32_t code = infer(handle, turn, 5000);
        CHECK(code == SCANSIDE_ERROR_LOST || code == SCANSIDE_ERROR_DOWN);
        CHECK(scanside_get_info(handle, &info) == SCANSIDE_ERROR_DOWN);
        CHECK(scanside_restart(handle) == SCANSIDE_OK);
        CHECK(open_descriptors() == opened);
    }
    CHECK(infer(handle, 9, 5000) == SCANSIDE_OK);
    CHECK(scanside_close(handle, 5000) == SCANSIDE_OK);
    CHECK(open_descriptors() == before);
}

static void ignores_signals(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, after;
    CHECK(sigaction(SIGCHLD, &ignore, NULL) == 0); /* the kernel reaps every child */
    CHECK(sigaction(SIGPIPE, &ignore, NULL) == 0);
    CHECK(sigaction(SIGTERM, &ignore, NULL) == 0);
    killed_and_restarted();
    CHECK(sigaction(SIGCHLD, NULL, &after) == 0 && after.sa_handler == SIG_IGN);
}

static bool ending;

static void *reap_all(void *unused)
{
    while (!__atomic_load_n(&ending, __ATOMIC_SEQ_CST)) {
        waitpid(-1, NULL, WNOHANG);
        sleep_ms(1);
    }
    return unused;
}

/* A host that waits for every child, and takes the library's status from it. */
static void reaps_all(void)
{
    pthread_t reaper;
    CHECK(pthread_create(&reaper, NULL, reap_all, NULL) == 0);
    killed_and_restarted();
    __atomic_store_n(&ending, true, __ATOMIC_SEQ_CST);
    CHECK(pthread_join(reaper, NULL) == 0);
}

/* SIGPIPE at its default would end this process; a host's own child is left alone. */
static void default_signals(void)
{
    pid_t other = fork();
    CHECK(other >= 0);
    if (other == 0)
        _exit(42);
    killed_and_restarted();
    int status = 0;
    CHECK(waitpid(other, &status, 0) == other && WEXITSTATUS(status) == 42);
}

/* The three standard descriptors are free: the library's own must not land there. */
static void without_standard_descriptors(void)
{
    int kept = dup(2);
    CHECK(kept > 2);
    close(0);
    close(1);
    close(2);
    scanside_session *handle = open_with(2);
    bool free_still = fcntl(0, F_GETFD) < 0 && fcntl(1, F_GETFD) < 0 && fcntl(2, F_GETFD) < 0;
    int32_t code = infer(handle, 4, 5000);
    int32_t closed = scanside_close(handle, 5000);
    dup2(kept, 2);
    CHECK(free_still && code == SCANSIDE_OK && closed == SCANSIDE_OK);
}

/* The child of fork may close its copy; the parent's server lives on. */
static void forks(void)
{
    scanside_session *handle = open_with(2);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        bool refused = infer(handle, 1, 100) == SCANSIDE_ERROR_ARGUMENT;
        _exit(refused && scanside_close(handle, 100) == SCANSIDE_OK ? 0 : 1);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(infer(handle, 2, 5000) == SCANSIDE_OK);
    CHECK(scanside_close(handle, 5000) == SCANSIDE_OK);
}

/* A program that the host starts inherits nothing of the library's. */
static void close_on_exec(void)
{
    int before = open_descriptors();
    scanside_session *handle = open_with(2);
    CHECK(open_descriptors() > before);
    char command[96];
    snprintf(command, sizeof command, "test $(ls /proc/self/fd | wc -l) -le %d", before);
    CHECK(system(command) == 0);
    CHECK(scanside_close(handle, 5000) == SCANSIDE_OK);
}

/* Prints the server's process number and waits to be killed. */
static void is_killed(void)
{
    scanside_session *handle = open_with(2);
    scanside_info info;
    scanside_info_init(&info, sizeof info);
    CHECK(scanside_get_info(handle, &info) == SCANSIDE_OK);
    printf("%ld\n", (long)info.pid);
    fflush(stdout);
    infer(handle, 1, SCANSIDE_FOREVER);
    sleep(600);
}

const struct scenario hosts[] = {
    {"killed_and_restarted", killed_and_restarted},
    {"ignores_signals", ignores_signals},
    {"reaps_all", reaps_all},
    {"default_signals", default_signals},
    {"without_standard_descriptors", without_standard_descriptors},
    {"forks", forks},
    {"close_on_exec", close_on_exec},
    {"is_killed", is_killed},
    {NULL, NULL},
};
