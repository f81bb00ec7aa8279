/* The functions of scanside.h about slices: handed over, waited for, given up. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <string.h>

#include "connection.h"
#include "errors.h"
#include "handle.h"
#include "image.h"
#include "requests.h"
#include "ring.h"
#include "structures.h"

/* A free record, waited for; NULL with *code set. */
static struct request *take_slot(scanside_session *handle, int64_t deadline, int32_t *code)
{
    for (bool late = false;; late = scn_monotonic_ns() >= deadline) {
        if (handle->state != SERVER_UP) {
            *code = scn_down(handle);
            return NULL;
        }
        struct request *request = scn_request_take(handle);
        if (request != NULL)
            return request;
        if (late) {
            *code = scn_error(SCANSIDE_ERROR_TIMEOUT,
                              "each of the %lu slots holds a request without an answer, or an "
                              "answer that nobody has waited for",
                              (unsigned long)handle->slots);
            return NULL;
        }
        scn_pump(handle, deadline);
    }
}

static void write_message(scanside_session *handle, struct request *request,
                          const scanside_image *image)
{
    bool shared = handle->ring.shared;
    struct wire_infer infer = {
        .height = image->height,
        .width = image->width,
        .channels = (uint16_t)image->channels,
        .dtype = (uint16_t)image->dtype,
        .flags = image->flags | (shared ? WIRE_INFER_SLOT : 0),
        .mask_form = image->no_mask != 0 ? WIRE_MASK_NONE : WIRE_MASK_BYTES,
        .slot = shared ? scn_request_slot(handle, request) : WIRE_NO_SLOT,
        .window_low = image->window_low,
        .window_high = image->window_high,
        .spacing_row = image->spacing_row,
        .spacing_column = image->spacing_column,
        .deadline_ms = image->deadline_ms,
    };
    request->height = image->height;
    request->width = image->width;
    request->mask_wanted = infer.mask_form != WIRE_MASK_NONE;
    scn_wire_put_infer(request->message, request->id, &infer, shared ? 0 : request->frame_bytes);
}

/* Send until the request has left; without shared memory that takes as long as the server takes
 * to read. */
static int32_t send_request(scanside_session *handle, struct request *request, int64_t deadline)
{
    uint32_t slot = scn_request_slot(handle, request);
    uint64_t ticket = request->id;
    request->state = REQUEST_QUEUED;
    scn_queue_add(handle, slot);
    scn_send(handle);
    for (bool late = false; request->state == REQUEST_QUEUED && request->id == ticket;
         late = scn_monotonic_ns() >= deadline) {
        if (late) {
            if (scn_queue_remove(handle, slot))
                request->state = REQUEST_FREE;
            else
                request->forgotten = true; /* the rest of it is sent later, for nobody */
            scn_changed(handle);
            return scn_error(SCANSIDE_ERROR_TIMEOUT, "the server did not take the frame in time");
        }
        scn_pump(handle, deadline);
    }
    return SCANSIDE_OK;
}

/* With `claimed`, no other thread may take the answer. */
static int32_t submit(scanside_session *handle, const scanside_image *image, bool claimed,
                      uint64_t *ticket, int64_t deadline)
{
    size_t frame_bytes = 0;
    int32_t code = handle->state == SERVER_UP ? SCANSIDE_OK : scn_down(handle);
    if (code == SCANSIDE_OK)
        code = scn_image_check(image, handle->ring.slot_bytes, &frame_bytes);
    if (code == SCANSIDE_OK && frame_bytes > handle->hello.max_payload)
        code = scn_error(SCANSIDE_ERROR_ARGUMENT,
                         "a frame of %llu bytes; accepted: up to %lu by this server",
                         (unsigned long long)frame_bytes, (unsigned long)handle->hello.max_payload);
    if (code != SCANSIDE_OK)
        return code;
    struct request *request = take_slot(handle, deadline, &code);
    if (request == NULL)
        return code;
    uint64_t made = request->id;
    request->claimed = claimed;
    request->frame_bytes = frame_bytes;
    write_message(handle, request, image);
    uint8_t *frame = scn_ring_slot(&handle->ring, scn_request_slot(handle, request));

    handle->copying++;
    pthread_mutex_unlock(&handle->lock);
    scn_image_copy(image, frame);
    pthread_mutex_lock(&handle->lock);
    handle->copying--;
    if (handle->state != SERVER_UP) {
        request->state = REQUEST_FREE;
        scn_changed(handle);
        return scn_down(handle);
    }
    code = send_request(handle, request, deadline);
    if (code == SCANSIDE_OK)
        *ticket = made;
    return code;
}

/* Turn an answer into the caller's result; the record is TAKING, the lock is not held. */
static int32_t deliver(const struct request *request, const uint8_t *slot, scanside_result *result,
                       uint8_t *mask, size_t mask_bytes)
{
    scn_result_fill(result, request);
    size_t pixels = (size_t)request->height * request->width;
    bool has_mask = request->code == SCANSIDE_OK && request->result.mask_form == WIRE_MASK_BYTES;
    if (mask != NULL && !has_mask)
        memset(mask, 0, pixels < mask_bytes ? pixels : mask_bytes);
    if (mask != NULL && has_mask) {
        size_t inside = scn_mask_copy(mask, slot + request->result.mask_offset, pixels);
        if (inside != request->result.area_px) {
            memset(mask, 0, pixels);
            scanside_result_init(result, sizeof *result);
            result->ticket = request->id;
            return scn_error(SCANSIDE_ERROR_INTERNAL,
                             "the mask is not the one that the server measured (%lu pixels): "
                             "something else writes to its memory",
                             (unsigned long)request->result.area_px);
        }
        result->flags |= SCANSIDE_HAS_MASK;
    }
    if (request->code != SCANSIDE_OK)
        return scn_error(request->code, "%s", request->text);
    return SCANSIDE_OK;
}

static int32_t take_answer(scanside_session *handle, struct request *request,
                           scanside_result *result, uint8_t *mask, size_t mask_bytes)
{
    if (request->state == REQUEST_LOST) {
        result->ticket = request->id;
        request->state = REQUEST_FREE;
        scn_changed(handle);
        return scn_error(SCANSIDE_ERROR_LOST, "%s", handle->ended);
    }
    size_t needed =
        request->code != SCANSIDE_OK || mask == NULL ? 0 : (size_t)request->height * request->width;
    if (mask_bytes < needed) {
        result->ticket = request->id;
        return scn_error(SCANSIDE_ERROR_BUFFER, "the mask's buffer has %llu bytes; needed: %llu",
                         (unsigned long long)mask_bytes, (unsigned long long)needed);
    }
    uint8_t *slot = scn_ring_slot(&handle->ring, scn_request_slot(handle, request));
    request->state = REQUEST_TAKING;
    handle->copying++;
    pthread_mutex_unlock(&handle->lock);
    int32_t code = deliver(request, slot, result, mask, mask_bytes);
    pthread_mutex_lock(&handle->lock);
    handle->copying--;
    request->state = REQUEST_FREE;
    scn_changed(handle);
    return code;
}

/* Whether a caller may wait for a ticket, or give it up. */
static struct request *find_waitable(scanside_session *handle, uint64_t ticket, int32_t *code)
{
    struct request *request = scn_request_find(handle, ticket);
    if (request != NULL && !request->forgotten && !request->claimed &&
        request->state != REQUEST_FILLING && request->state != REQUEST_TAKING)
        return request;
    *code = scn_error(SCANSIDE_ERROR_ARGUMENT,
                      "ticket %llu was never given, is spent, or another thread waits for it",
                      (unsigned long long)ticket);
    return NULL;
}

/* Pump until a claimed request is done, or any where it is NULL, and take the answer. */
static int32_t wait_for(scanside_session *handle, struct request *claimed, scanside_result *result,
                        uint8_t *mask, size_t mask_bytes, int64_t deadline)
{
    int32_t code = SCANSIDE_OK;
    for (bool late = false; code == SCANSIDE_OK; late = scn_monotonic_ns() >= deadline) {
        struct request *done = claimed != NULL ? claimed : scn_request_first_done(handle);
        if (done != NULL && scn_request_done(done)) {
            done->claimed = false;
            return take_answer(handle, done, result, mask, mask_bytes);
        }
        if (claimed == NULL && handle->state != SERVER_UP)
            code = scn_down(handle);
        else if (late)
            code = scn_error(SCANSIDE_ERROR_TIMEOUT, "no answer yet");
        else
            scn_pump(handle, deadline);
    }
    if (claimed != NULL)
        claimed->claimed = false;
    return code;
}

int32_t scanside_submit(scanside_session *handle, const scanside_image *image, uint64_t *ticket,
                        uint32_t timeout_ms)
{
    int64_t deadline = scn_deadline(timeout_ms);
    scanside_image given;
    scanside_image_init(&given, sizeof given);
    int32_t code = scn_structure_take(&scn_image_structure, &given, image);
    if (code == SCANSIDE_OK && ticket == NULL)
        code = scn_error(SCANSIDE_ERROR_ARGUMENT, "the place for the ticket is NULL");
    if (code == SCANSIDE_OK)
        code = scn_enter(handle);
    if (code != SCANSIDE_OK)
        return code;
    return scn_leave(handle, submit(handle, &given, false, ticket, deadline));
}

int32_t scanside_wait(scanside_session *handle, uint64_t ticket, scanside_result *result,
                      uint8_t *mask, size_t mask_bytes, uint32_t timeout_ms)
{
    int64_t deadline = scn_deadline(timeout_ms);
    scanside_result filled;
    scanside_result_init(&filled, sizeof filled);
    int32_t code = SCANSIDE_OK;
    if (result != NULL || ticket == SCANSIDE_ANY)
        code = scn_structure_check(&scn_result_structure, result);
    if (code == SCANSIDE_OK)
        code = scn_enter(handle);
    if (code != SCANSIDE_OK)
        return code;
    struct request *claimed = NULL;
    if (ticket != SCANSIDE_ANY) {
        claimed = find_waitable(handle, ticket, &code);
        if (claimed == NULL)
            return scn_leave(handle, code);
        claimed->claimed = true;
    }
    code = scn_leave(handle, wait_for(handle, claimed, &filled, mask, mask_bytes, deadline));
    if (result != NULL)
        scn_structure_give(&scn_result_structure, result, &filled);
    return code;
}

int32_t scanside_infer(scanside_session *handle, const scanside_image *image,
                       scanside_result *result, uint8_t *mask, size_t mask_bytes,
                       uint32_t timeout_ms)
{
    int64_t deadline = scn_deadline(timeout_ms);
    scanside_image given;
    scanside_image_init(&given, sizeof given);
    scanside_result filled;
    scanside_result_init(&filled, sizeof filled);
    int32_t code = scn_structure_take(&scn_image_structure, &given, image);
    if (code == SCANSIDE_OK)
        code = scn_structure_check(&scn_result_structure, result);
    if (code == SCANSIDE_OK && mask != NULL && mask_bytes < (uint64_t)given.height * given.width)
        code = scn_error(SCANSIDE_ERROR_BUFFER, "the mask's buffer has %llu bytes; needed: %llu",
                         (unsigned long long)mask_bytes,
                         (unsigned long long)given.height * given.width);
    if (code == SCANSIDE_OK)
        code = scn_enter(handle);
    if (code != SCANSIDE_OK)
        return code;
    uint64_t ticket = 0;
    code = submit(handle, &given, true, &ticket, deadline);
    if (code == SCANSIDE_OK) {
        struct request *request = scn_request_find(handle, ticket);
        code = wait_for(handle, request, &filled, mask, mask_bytes, deadline);
        if (code == SCANSIDE_ERROR_TIMEOUT)
            request->forgotten = true;
    }
    scn_leave(handle, code);
    scn_structure_give(&scn_result_structure, result, &filled);
    return code;
}

int32_t scanside_forget(scanside_session *handle, uint64_t ticket)
{
    int32_t code = scn_enter(handle);
    if (code != SCANSIDE_OK)
        return code;
    struct request *request = find_waitable(handle, ticket, &code);
    if (request != NULL && scn_request_done(request))
        request->state = REQUEST_FREE;
    else if (request != NULL)
        request->forgotten = true;
    scn_changed(handle);
    return scn_leave(handle, code);
}
