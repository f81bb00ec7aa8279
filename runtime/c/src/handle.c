#define _POSIX_C_SOURCE 200809L /* strdup, pthread_condattr_setclock */
#include "handle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "connection.h"
#include "errors.h"
#include "ring.h"

static size_t count(const char *const *texts)
{
    size_t n = 0;
    while (texts != NULL && texts[n] != NULL)
        n++;
    return n;
}

static void free_texts(char **texts)
{
    for (size_t n = 0; texts != NULL && texts[n] != NULL; n++)
        free(texts[n]);
    free(texts);
}

/* Copies of both lists in one, NULL at the end; NULL without memory. */
static char **copy_texts(const char *const *first, const char *const *second)
{
    size_t begin = count(first), all = begin + count(second);
    char **copy = calloc(all + 1, sizeof *copy);
    for (size_t n = 0; copy != NULL && n < all; n++) {
        copy[n] = strdup(n < begin ? first[n] : second[n - begin]);
        if (copy[n] == NULL) {
            free_texts(copy);
            return NULL;
        }
    }
    return copy;
}

static int32_t check(const scanside_options *options)
{
    const uint32_t known = SCANSIDE_NO_SHARED_MEMORY | SCANSIDE_ORDERED;
    if ((options->flags & ~known) != 0)
        return scn_error(SCANSIDE_ERROR_ARGUMENT, "options.flags is %#lx; accepted: bits of %#lx",
                         (unsigned long)options->flags, (unsigned long)known);
    if (options->executable == NULL || options->executable[0] != '/')
        return scn_error(SCANSIDE_ERROR_ARGUMENT,
                         "options.executable is %s; accepted: the absolute path of scanside, such "
                         "as /opt/scanside/bin/scanside",
                         options->executable == NULL ? "NULL" : options->executable);
    if (options->slots > MAX_SLOTS)
        return scn_error(SCANSIDE_ERROR_ARGUMENT, "options.slots is %lu; accepted: 0 to %d",
                         (unsigned long)options->slots, MAX_SLOTS);
    /* So that slots x slot_bytes and offsets in a slot stay within 32 and 63 bits. */
    if (options->slot_bytes == 0 || options->slot_bytes > INT32_MAX - WIRE_SLOT_ALIGNMENT)
        return scn_error(SCANSIDE_ERROR_ARGUMENT,
                         "options.slot_bytes is %llu; accepted: 1 to 2 GiB, or the default of "
                         "scanside_options_init",
                         (unsigned long long)options->slot_bytes);
    return SCANSIDE_OK;
}

static int make_lock(scanside_session *handle)
{
    pthread_condattr_t monotonic;
    int failed = pthread_condattr_init(&monotonic);
    if (failed != 0)
        return failed;
    failed = pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    if (failed == 0)
        failed = pthread_cond_init(&handle->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (failed != 0)
        return failed;
    failed = pthread_mutex_init(&handle->lock, NULL);
    if (failed != 0)
        pthread_cond_destroy(&handle->changed);
    return failed;
}

static bool copy_options(scanside_session *handle, const scanside_options *options)
{
    const char *const command[] = {options->executable, "serve", NULL};
    handle->flags = options->flags;
    handle->slots_wanted = options->slots;
    handle->start_timeout_ms = options->start_timeout_ms;
    handle->slot_bytes = (size_t)(options->slot_bytes + WIRE_SLOT_ALIGNMENT - 1) /
                         WIRE_SLOT_ALIGNMENT * WIRE_SLOT_ALIGNMENT;
    handle->log = options->log;
    handle->log_context = options->log_context;
    handle->executable = strdup(options->executable);
    handle->arguments = copy_texts(command, options->arguments);
    if (options->environment != NULL)
        handle->environment = copy_texts(options->environment, NULL);
    handle->received = malloc(RECEIVE_BYTES);
    handle->description = calloc(1, WIRE_MAX_JSON + 1);
    return handle->executable != NULL && handle->arguments != NULL &&
           (handle->environment != NULL || options->environment == NULL) &&
           handle->received != NULL && handle->description != NULL;
}

int32_t scn_handle_make(const scanside_options *options, scanside_session **handle)
{
    int32_t code = check(options);
    if (code != SCANSIDE_OK)
        return code;
    scanside_session *made = calloc(1, sizeof *made);
    if (made == NULL)
        return scn_system_error("memory for the handle", ENOMEM);
    made->owner = getpid();
    made->connection = made->log_pipe = made->wake[0] = made->wake[1] = -1;
    made->child.pidfd = made->ring.descriptor = -1;
    made->connection_ended = true;
    int failed = make_lock(made);
    if (failed != 0) {
        free(made);
        return scn_system_error("a lock", failed);
    }
    if (!copy_options(made, options)) {
        scn_handle_free(made);
        return scn_system_error("memory for the handle", ENOMEM);
    }
    *handle = made;
    return SCANSIDE_OK;
}

void scn_handle_free(scanside_session *handle)
{
    if (handle == NULL)
        return;
    scn_connection_close(handle);
    scn_ring_free(&handle->ring);
    if (handle->child.pidfd >= 0)
        close(handle->child.pidfd);
    pthread_cond_destroy(&handle->changed);
    pthread_mutex_destroy(&handle->lock);
    free(handle->executable);
    free_texts(handle->arguments);
    free_texts(handle->environment);
    free(handle->received);
    free(handle->description);
    free(handle->requests);
    free(handle);
}

int32_t scn_enter(scanside_session *handle)
{
    if (handle == NULL)
        return scn_error(SCANSIDE_ERROR_ARGUMENT, "the handle is NULL");
    if (handle->owner != getpid())
        return scn_error(SCANSIDE_ERROR_ARGUMENT,
                         "the handle belongs to the process that opened it; open another one");
    pthread_mutex_lock(&handle->lock);
    return SCANSIDE_OK;
}

int32_t scn_leave(scanside_session *handle, int32_t code)
{
    pthread_mutex_unlock(&handle->lock);
    return code;
}

int32_t scn_down(const scanside_session *handle)
{
    return scn_error(SCANSIDE_ERROR_DOWN, "%s",
                     handle->state == SERVER_STARTING ? "the server is being restarted"
                                                      : handle->ended);
}
