/* One thread at a time is at the connection: the first that waits takes the turn, reads for all,
 * and wakes the others. So an answer needs no change of threads where one thread waits. */
#define _GNU_SOURCE /* MSG_NOSIGNAL on every libc */
#include "connection.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "answers.h"
#include "errors.h"
#include "requests.h"
#include "ring.h"

enum {
    /* A turn ends after so much, that a server which never stops sending cannot hold a thread
     * beyond its time-out. */
    RECEIVES_A_TURN = 8,
    /* For the process's status and last words after its end of the connection has closed. */
    SETTLE_MS = 20,
    /* poll and the condition take no longer times; the callers look at their own deadline. */
    LONGEST_WAIT_MS = 60 * 1000
};

int64_t scn_deadline(uint32_t milliseconds)
{
    if (milliseconds == SCANSIDE_FOREVER)
        return INT64_MAX;
    return scn_monotonic_ns() + (int64_t)milliseconds * 1000000;
}

/* From now, rounded up, so that the time is over when poll comes back. */
static int milliseconds_until(int64_t deadline)
{
    int64_t now = scn_monotonic_ns();
    if (deadline <= now)
        return 0;
    if (deadline - now > (int64_t)LONGEST_WAIT_MS * 1000000)
        return LONGEST_WAIT_MS;
    return (int)((deadline - now + 999999) / 1000000);
}

void scn_wait_changed(scanside_session *handle, int64_t deadline)
{
    int64_t longest = scn_deadline(LONGEST_WAIT_MS);
    if (deadline > longest)
        deadline = longest;
    struct timespec until = {(time_t)(deadline / 1000000000), (long)(deadline % 1000000000)};
    handle->waiting++;
    pthread_cond_timedwait(&handle->changed, &handle->lock, &until);
    handle->waiting--;
}

void scn_changed(scanside_session *handle)
{
    if (handle->waiting > 0)
        pthread_cond_broadcast(&handle->changed);
}

/* What is left of the queue's first message; the number of pieces. */
static int next_pieces(scanside_session *handle, struct iovec pieces[2])
{
    uint32_t what = handle->queue[handle->queue_first];
    int count = 1;
    if (what == QUEUE_CONTROL) {
        pieces[0] = (struct iovec){handle->control.message, handle->control.message_bytes};
    } else {
        struct request *request = &handle->requests[what];
        pieces[0] = (struct iovec){request->message, sizeof request->message};
        if (!handle->ring.shared)
            pieces[count++] =
                (struct iovec){scn_ring_slot(&handle->ring, what), request->frame_bytes};
    }
    size_t sent = handle->queue_sent;
    if (count == 2 && sent >= pieces[0].iov_len) {
        sent -= pieces[0].iov_len;
        pieces[0] = pieces[1];
        count = 1;
    }
    pieces[0].iov_base = (uint8_t *)pieces[0].iov_base + sent;
    pieces[0].iov_len -= sent;
    return count;
}

/* The memory goes with ATTACH, and is the server's from then on. */
static void put_descriptor(scanside_session *handle, struct msghdr *message, void *room,
                           size_t size)
{
    if (handle->queue[handle->queue_first] != QUEUE_CONTROL ||
        handle->control.kind != WIRE_ATTACH || handle->queue_sent > 0)
        return;
    memset(room, 0, size);
    message->msg_control = room;
    message->msg_controllen = size;
    struct cmsghdr *rights = CMSG_FIRSTHDR(message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &handle->ring.descriptor, sizeof(int));
}

/* Send what can be sent without waiting. */
static void flush(scanside_session *handle)
{
    while (handle->queue_count > 0 && !handle->sending_ended) {
        struct iovec pieces[2];
        union {
            struct cmsghdr aligned;
            uint8_t bytes[CMSG_SPACE(sizeof(int))];
        } room;
        struct msghdr message = {.msg_iov = pieces};
        message.msg_iovlen = (size_t)next_pieces(handle, pieces);
        put_descriptor(handle, &message, &room, sizeof room.bytes);
        size_t left = pieces[0].iov_len + (message.msg_iovlen == 2 ? pieces[1].iov_len : 0);
        ssize_t sent = sendmsg(handle->connection, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0) {
            /* What it has sent before it went can still be read. */
            handle->sending_ended = errno != EAGAIN && errno != EWOULDBLOCK;
            return;
        }
        handle->queue_sent += (size_t)sent;
        if ((size_t)sent < left)
            continue;
        uint32_t what = handle->queue[handle->queue_first];
        handle->queue_first = (handle->queue_first + 1) % (MAX_SLOTS + 1);
        handle->queue_count--;
        handle->queue_sent = 0;
        if (what != QUEUE_CONTROL)
            scn_request_sent(&handle->requests[what]);
    }
}

/* Take what has come. NULL, or why the connection is over. */
static const char *receive(scanside_session *handle)
{
    for (int n = 0; n < RECEIVES_A_TURN; n++) {
        ssize_t got = recv(handle->connection, handle->received, RECEIVE_BYTES, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return NULL;
        if (got <= 0)
            return "";
        const char *wrong = scn_answers_take(handle, handle->received, (size_t)got);
        if (wrong != NULL)
            return wrong;
        if (got < RECEIVE_BYTES)
            return NULL;
    }
    return NULL;
}

/* ---- the log: only the pumping thread comes here, without the lock -------------------------- */

static void end_log_line(scanside_session *handle)
{
    handle->log_line[handle->log_filled] = '\0';
    if (handle->log_filled > 0)
        memcpy(handle->log_last, handle->log_line, handle->log_filled + 1);
    handle->log(handle->log_context, handle->log_line);
    handle->log_filled = 0;
}

/* Hand on what the server has written to stderr, line by line. */
static void read_log(scanside_session *handle)
{
    char text[4096];
    for (int n = 0; n < RECEIVES_A_TURN && handle->log_pipe >= 0; n++) {
        ssize_t got = read(handle->log_pipe, text, sizeof text);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return;
        if (got == 0) {
            if (handle->log_filled > 0)
                end_log_line(handle);
            close(handle->log_pipe);
            handle->log_pipe = -1;
            return;
        }
        for (ssize_t at = 0; at < got; at++) {
            if (text[at] != '\n')
                handle->log_line[handle->log_filled++] = text[at];
            if (text[at] == '\n' || handle->log_filled == LOG_LINE - 1)
                end_log_line(handle);
        }
    }
}

/* ---- the end of a connection ---------------------------------------------------------------- */

/* Say why, once the process's status and last words are there: neither takes long. */
static void settle(scanside_session *handle, const char *wrong)
{
    if (*wrong != '\0')
        scn_process_signal(&handle->child, SIGKILL);
    for (int n = 0; n < SETTLE_MS && !scn_process_wait(&handle->child, 0); n++) {
        struct timespec pause = {0, 1000000};
        pthread_mutex_unlock(&handle->lock);
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&handle->lock);
    }
    pthread_mutex_unlock(&handle->lock);
    read_log(handle);
    pthread_mutex_lock(&handle->lock);

    char ending[96];
    scn_process_ending(&handle->child, ending, sizeof ending);
    if (*wrong != '\0')
        snprintf(handle->ended, sizeof handle->ended, "%s; the server was killed", wrong);
    else
        snprintf(handle->ended, sizeof handle->ended,
                 "the server closed the connection and %s%s%.300s", ending,
                 handle->log_last[0] != '\0' ? "; its log ends: " : "", handle->log_last);
    handle->connection_ended = true;
    if (handle->state == SERVER_UP)
        handle->state = SERVER_DOWN;
    scn_requests_lose(handle, false);
}

void scn_pump(scanside_session *handle, int64_t deadline)
{
    if (handle->pumping) {
        scn_wait_changed(handle, deadline);
        return;
    }
    if (handle->connection_ended)
        return;
    handle->pumping = true;
    bool unsent = handle->queue_count > 0 && !handle->sending_ended;
    pthread_mutex_unlock(&handle->lock);

    struct pollfd ready[3] = {{handle->connection, (short)(unsent ? POLLIN | POLLOUT : POLLIN), 0},
                              {handle->wake[0], POLLIN, 0},
                              {handle->log_pipe, POLLIN, 0}}; /* below 0: left out */
    poll(ready, 3, milliseconds_until(deadline));
    if (ready[2].revents != 0)
        read_log(handle);

    pthread_mutex_lock(&handle->lock);
    if (ready[1].revents != 0) {
        char woken[64];
        while (read(handle->wake[0], woken, sizeof woken) == (ssize_t)sizeof woken)
            ;
    }
    flush(handle);
    const char *wrong = ready[0].revents & ~POLLOUT ? receive(handle) : NULL;
    if (wrong != NULL)
        settle(handle, wrong);
    handle->pumping = false;
    scn_changed(handle);
}

void scn_send(scanside_session *handle)
{
    flush(handle);
    if (handle->queue_count > 0 && handle->pumping && write(handle->wake[1], "", 1) < 0)
        return; /* full: that thread has been woken */
}

int32_t scn_control_take(scanside_session *handle, int64_t deadline)
{
    struct control *control = &handle->control;
    for (bool late = false; control->taken; late = scn_monotonic_ns() >= deadline) {
        if (handle->connection_ended)
            break;
        if (late)
            return scn_error(SCANSIDE_ERROR_TIMEOUT, "another question has no answer yet");
        scn_pump(handle, deadline);
    }
    if (handle->connection_ended)
        return scn_error(SCANSIDE_ERROR_DOWN, "%s", handle->ended);
    control->taken = true;
    control->late = false;
    control->id = ++handle->last_id;
    return SCANSIDE_OK;
}

void scn_control_leave(scanside_session *handle)
{
    struct control *control = &handle->control;
    control->late = !control->answered && !handle->connection_ended;
    control->taken = control->late;
    scn_changed(handle);
}

void scn_control_send(scanside_session *handle, uint16_t kind, size_t message_bytes)
{
    handle->control.kind = kind;
    handle->control.message_bytes = message_bytes;
    handle->control.answered = false;
    handle->control.code = SCANSIDE_OK;
    handle->control.cause = SCANSIDE_CAUSE_NONE;
    scn_queue_add(handle, QUEUE_CONTROL);
    scn_send(handle);
}

int32_t scn_control_wait(scanside_session *handle, int64_t deadline)
{
    struct control *control = &handle->control;
    for (bool late = false; !control->answered; late = scn_monotonic_ns() >= deadline) {
        if (handle->connection_ended)
            return scn_error(SCANSIDE_ERROR_LOST, "%s", handle->ended);
        if (late)
            return scn_error(SCANSIDE_ERROR_TIMEOUT, "the server did not answer in time");
        scn_pump(handle, deadline);
    }
    if (control->code != SCANSIDE_OK)
        return scn_error(control->code, "%s", control->text);
    return SCANSIDE_OK;
}

void scn_connection_close(scanside_session *handle)
{
    int *descriptors[] = {&handle->connection, &handle->log_pipe, &handle->wake[0],
                          &handle->wake[1]};
    for (size_t n = 0; n < sizeof descriptors / sizeof *descriptors; n++) {
        if (*descriptors[n] >= 0)
            close(*descriptors[n]);
        *descriptors[n] = -1;
    }
}
