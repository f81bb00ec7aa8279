#define _GNU_SOURCE /* pipe2 */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connection.h"
#include "errors.h"
#include "requests.h"
#include "ring.h"

enum {
    /* A killed process is gone within milliseconds, unless it is stuck in a driver. */
    KILLED_MS = 2000,
    /* Asked of the kernel, which gives what it allows: a frame at once, not in pieces. */
    SOCKET_BYTES = 1024 * 1024
};

static const char client_name[] = "scanside.c";

static int above_standard(int pair[2])
{
    pair[0] = scn_descriptor_above_standard(pair[0]);
    pair[1] = scn_descriptor_above_standard(pair[1]);
    if (pair[0] >= 0 && pair[1] >= 0)
        return 0;
    int why = errno;
    for (int n = 0; n < 2; n++)
        if (pair[n] >= 0)
            close(pair[n]);
    errno = why;
    return -1;
}

static int make_socket_pair(int pair[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0 || above_standard(pair) != 0)
        return -1;
    int bytes = SOCKET_BYTES;
    for (int n = 0; n < 2; n++)
        setsockopt(pair[n], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    return 0;
}

static int make_pipe(int pair[2])
{
    return pipe2(pair, O_CLOEXEC) != 0 ? -1 : above_standard(pair);
}

static int unblock(int descriptor) { return fcntl(descriptor, F_SETFL, O_NONBLOCK); }

/* The host's ends go into the handle, the child's into `descriptors`. */
static int make_channels(scanside_session *handle, struct process_descriptors *descriptors)
{
    int pair[2];
    if (make_socket_pair(pair) != 0)
        return -1;
    handle->connection = pair[0];
    descriptors->input_output = pair[1];
    if (make_pipe(handle->wake) != 0 || unblock(handle->wake[0]) != 0 ||
        unblock(handle->wake[1]) != 0)
        return -1;
    if (handle->log == NULL)
        return 0;
    if (make_pipe(pair) != 0)
        return -1;
    handle->log_pipe = pair[0];
    descriptors->error = pair[1];
    return unblock(handle->log_pipe);
}

static int32_t spawn(scanside_session *handle)
{
    struct process_descriptors theirs = {-1, -1};
    int32_t code = SCANSIDE_OK;
    if (make_channels(handle, &theirs) != 0)
        code = scn_system_error("descriptors for the server", errno);
    if (code == SCANSIDE_OK) {
        int why = scn_process_start(&handle->child, handle->executable, handle->arguments,
                                    handle->environment, &theirs);
        if (why != 0) {
            scn_system_error(handle->executable, why);
            code = SCANSIDE_ERROR_START;
        }
    }
    if (theirs.input_output >= 0)
        close(theirs.input_output);
    if (theirs.error >= 0)
        close(theirs.error);
    return code;
}

static int32_t say_hello(scanside_session *handle, int64_t deadline)
{
    struct control *control = &handle->control;
    int32_t code = scn_control_take(handle, deadline);
    if (code != SCANSIDE_OK)
        return code;
    uint32_t flags = (handle->flags & SCANSIDE_ORDERED) != 0 ? WIRE_HELLO_ORDERED : 0;
    size_t bytes = scn_wire_put_hello(control->message, control->id, flags, sizeof client_name - 1);
    memcpy(control->message + bytes, client_name, sizeof client_name - 1);
    scn_control_send(handle, WIRE_HELLO, bytes + sizeof client_name - 1);
    code = scn_control_wait(handle, deadline);
    scn_control_leave(handle);
    if (code == SCANSIDE_ERROR_LOST)
        return scn_error(SCANSIDE_ERROR_START, "%s did not become ready: %s", handle->executable,
                         handle->ended);
    if (code == SCANSIDE_ERROR_TIMEOUT)
        return scn_error(code, "the server was not ready within %lu ms (start_timeout_ms)",
                         (unsigned long)handle->start_timeout_ms);
    if (code == SCANSIDE_OK && handle->hello.major == WIRE_MAJOR)
        return SCANSIDE_OK;
    if (code == SCANSIDE_OK || control->cause == 2 /* VERSION */)
        return scn_error(SCANSIDE_ERROR_VERSION,
                         "the server speaks another protocol than version %d: install the scanside "
                         "that belongs to this library%s%s",
                         WIRE_MAJOR, code != SCANSIDE_OK ? "; it says: " : "",
                         code != SCANSIDE_OK ? control->text : "");
    return code;
}

/* The number of slots: what was asked for, or what keeps the server busy; the same after a
 * restart. */
static int32_t choose_slots(scanside_session *handle)
{
    const struct wire_hello *hello = &handle->hello;
    bool shared = (handle->flags & SCANSIDE_NO_SHARED_MEMORY) == 0;
    uint64_t memory = shared ? hello->max_shared_bytes : hello->max_bytes_in_flight;
    uint64_t most = memory / handle->slot_bytes;
    if (most > hello->max_in_flight)
        most = hello->max_in_flight;
    if (shared && most > hello->max_slots)
        most = hello->max_slots;
    if (most > MAX_SLOTS)
        most = MAX_SLOTS;
    uint32_t wanted = handle->requests != NULL ? handle->slots : handle->slots_wanted;
    uint64_t chosen = wanted != 0 ? wanted : hello->queue_depth;
    if (wanted == 0 && chosen > most)
        chosen = most;
    if (chosen == 0 || chosen > most)
        return scn_error(SCANSIDE_ERROR_ARGUMENT,
                         "%llu slots of %llu bytes; accepted: up to %llu of that size by this "
                         "server; give fewer slots or a smaller slot_bytes",
                         (unsigned long long)chosen, (unsigned long long)handle->slot_bytes,
                         (unsigned long long)most);
    if (handle->requests == NULL) {
        handle->requests = calloc(chosen, sizeof *handle->requests);
        if (handle->requests == NULL)
            return scn_system_error("memory for the requests", ENOMEM);
        handle->slots = (uint32_t)chosen;
    }
    return SCANSIDE_OK;
}

static int32_t attach(scanside_session *handle, int64_t deadline)
{
    struct control *control = &handle->control;
    if ((handle->hello.flags & WIRE_HELLO_SHARED_MEMORY) == 0)
        return scn_error(SCANSIDE_ERROR_START,
                         "the server has no shared memory on this connection; to go without, set "
                         "SCANSIDE_NO_SHARED_MEMORY");
    struct wire_attach asked = {handle->slots, handle->ring.slot_bytes};
    int32_t code = scn_control_take(handle, deadline);
    if (code != SCANSIDE_OK)
        return code;
    scn_control_send(handle, WIRE_ATTACH,
                     scn_wire_put_attach(control->message, control->id, &asked));
    code = scn_control_wait(handle, deadline);
    scn_control_leave(handle);
    if (code != SCANSIDE_OK)
        return code;
    if (control->attach.slots != asked.slots || control->attach.slot_bytes != asked.slot_bytes)
        return scn_error(SCANSIDE_ERROR_START,
                         "the server attached %lu slots of %llu bytes, not those it was given",
                         (unsigned long)control->attach.slots,
                         (unsigned long long)control->attach.slot_bytes);
    close(handle->ring.descriptor);
    handle->ring.descriptor = -1;
    return SCANSIDE_OK;
}

static int32_t shake_hands(scanside_session *handle)
{
    int64_t deadline = scn_deadline(handle->start_timeout_ms);
    int32_t code = say_hello(handle, deadline);
    if (code == SCANSIDE_OK)
        code = choose_slots(handle);
    bool shared = (handle->flags & SCANSIDE_NO_SHARED_MEMORY) == 0;
    if (code == SCANSIDE_OK)
        code = scn_ring_make(&handle->ring, handle->slots, handle->slot_bytes, shared);
    if (code == SCANSIDE_OK && shared)
        code = attach(handle, deadline);
    return code;
}

int32_t scn_server_start(scanside_session *handle)
{
    handle->connection_ended = handle->sending_ended = false;
    memset(&handle->reader, 0, sizeof handle->reader);
    memset(&handle->control, 0, sizeof handle->control);
    handle->log_filled = 0;
    handle->log_last[0] = '\0';
    int32_t code = SCANSIDE_OK;
    if (handle->child.pid != 0)
        code = scn_error(SCANSIDE_ERROR_START,
                         "the old server, process %ld, was killed and is not "
                         "gone: it hangs in the kernel",
                         (long)handle->child.pid);
    if (code == SCANSIDE_OK)
        code = spawn(handle);
    if (code == SCANSIDE_OK)
        code = shake_hands(handle);
    if (code != SCANSIDE_OK) {
        snprintf(handle->ended, sizeof handle->ended, "the last start failed: %.480s",
                 scanside_last_error());
        scn_server_discard(handle);
    }
    return code;
}

void scn_server_discard(scanside_session *handle)
{
    scn_process_signal(&handle->child, SIGKILL);
    scn_process_wait(&handle->child, scn_deadline(KILLED_MS));
    scn_connection_close(handle);
    handle->connection_ended = true;
    scn_requests_lose(handle, true);
    scn_ring_free(&handle->ring);
}

int32_t scn_server_drain(scanside_session *handle, int64_t deadline)
{
    struct control *control = &handle->control;
    if (handle->state != SERVER_UP)
        return scn_error(SCANSIDE_ERROR_DOWN, "the server had ended before: %s", handle->ended);
    int32_t code = scn_control_take(handle, deadline);
    if (code == SCANSIDE_OK) {
        scn_control_send(handle, WIRE_DRAIN,
                         scn_wire_put_header(control->message, WIRE_DRAIN, 0, 0, control->id));
        code = scn_control_wait(handle, deadline);
    }
    while (!handle->connection_ended && scn_monotonic_ns() < deadline)
        scn_pump(handle, deadline); /* its last words */
    if (code == SCANSIDE_ERROR_TIMEOUT || !scn_process_wait(&handle->child, deadline))
        return scn_error(SCANSIDE_ERROR_TIMEOUT, "the server did not end in time: it was killed");
    char ending[96];
    scn_process_ending(&handle->child, ending, sizeof ending);
    bool clean = !handle->child.known || handle->child.status == 0;
    if (code == SCANSIDE_OK && clean)
        return SCANSIDE_OK;
    return scn_error(SCANSIDE_ERROR_DOWN, "the server %s", ending);
}
