#include "requests.h"

#include <string.h>

struct request *scn_request_take(scanside_session *handle)
{
    for (uint32_t n = 0; n < handle->slots; n++) {
        struct request *request = &handle->requests[n];
        if (request->state != REQUEST_FREE)
            continue;
        request->state = REQUEST_FILLING;
        request->forgotten = request->claimed = request->early = false;
        request->id = ++handle->last_id;
        request->code = SCANSIDE_OK;
        request->cause = SCANSIDE_CAUSE_NONE;
        request->has_result = false;
        request->text[0] = '\0';
        return request;
    }
    return NULL;
}

struct request *scn_request_find(scanside_session *handle, uint64_t ticket)
{
    for (uint32_t n = 0; n < handle->slots; n++) {
        struct request *request = &handle->requests[n];
        if (request->state != REQUEST_FREE && request->id == ticket)
            return request;
    }
    return NULL;
}

struct request *scn_request_first_done(scanside_session *handle)
{
    struct request *first = NULL;
    for (uint32_t n = 0; n < handle->slots; n++) {
        struct request *request = &handle->requests[n];
        if (scn_request_done(request) && !request->claimed &&
            (first == NULL || request->id < first->id))
            first = request;
    }
    return first;
}

uint32_t scn_request_slot(const scanside_session *handle, const struct request *request)
{
    return (uint32_t)(request - handle->requests);
}

bool scn_request_done(const struct request *request)
{
    return request->state == REQUEST_ANSWERED || request->state == REQUEST_LOST;
}

/* Kept for who waits, or free again where nobody does. */
static void finish(struct request *request, enum request_state state)
{
    request->state = request->forgotten ? REQUEST_FREE : state;
}

bool scn_request_awaits_answer(const scanside_session *handle, const struct request *request)
{
    if (request->state == REQUEST_QUEUED)
        return !request->early && handle->queue_sent >= sizeof request->message &&
               handle->queue[handle->queue_first] == scn_request_slot(handle, request);
    return request->state == REQUEST_SENT;
}

void scn_request_answer(struct request *request)
{
    if (request->state == REQUEST_QUEUED)
        request->early = true;
    else
        finish(request, REQUEST_ANSWERED);
}

void scn_request_sent(struct request *request)
{
    request->state = REQUEST_SENT;
    if (request->early)
        finish(request, REQUEST_ANSWERED);
}

void scn_requests_lose(scanside_session *handle, bool answers)
{
    handle->queue_count = 0;
    handle->queue_sent = 0;
    for (uint32_t n = 0; n < handle->slots; n++) {
        struct request *request = &handle->requests[n];
        if (request->state == REQUEST_QUEUED || request->state == REQUEST_SENT)
            finish(request, request->early ? REQUEST_ANSWERED : REQUEST_LOST);
        if (answers && request->state == REQUEST_ANSWERED)
            request->state = REQUEST_LOST;
    }
}

void scn_queue_add(scanside_session *handle, uint32_t what)
{
    handle->queue[(handle->queue_first + handle->queue_count++) % (MAX_SLOTS + 1)] = what;
}

bool scn_queue_remove(scanside_session *handle, uint32_t slot)
{
    for (uint32_t n = 0; n < handle->queue_count; n++) {
        if (handle->queue[(handle->queue_first + n) % (MAX_SLOTS + 1)] != slot)
            continue;
        if (n == 0 && handle->queue_sent > 0)
            return false;
        for (; n + 1 < handle->queue_count; n++)
            handle->queue[(handle->queue_first + n) % (MAX_SLOTS + 1)] =
                handle->queue[(handle->queue_first + n + 1) % (MAX_SLOTS + 1)];
        handle->queue_count--;
        return true;
    }
    return false;
}
