/* Nothing the server says is believed because it says it: an answer is held against its request,
 * and a result that contradicts itself ends the connection. */
#include "answers.h"

#include <string.h>

#include "requests.h"
#include "ring.h"

/* NUL after the text, cut between characters where it was cut. */
static void end_text(char *text, size_t room, size_t length)
{
    if (length >= room) {
        length = room - 1;
        while (length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80)
            length--;
    }
    text[length] = '\0';
}

/* What a result may be, by docs/protocol.md and docs/results.md. */
static const char *check_result(const scanside_session *handle, const struct request *request)
{
    const struct wire_result *result = &request->result;
    const struct wire_header *header = &handle->reader.header;
    bool has_area = (result->flags & WIRE_RESULT_AREA) != 0;
    bool in_slot = (result->flags & WIRE_RESULT_SLOT) != 0;
    uint64_t pixels = (uint64_t)request->height * request->width;
    uint64_t mask_bytes = result->mask_form == WIRE_MASK_BYTES ? pixels : 0;

    if (result->status > SCANSIDE_STATUS_REJECTED || result->tumor > SCANSIDE_TUMOR_UNKNOWN)
        return "a RESULT has a status that does not exist";
    if ((result->status == SCANSIDE_STATUS_OK) != (result->tumor != SCANSIDE_TUMOR_UNKNOWN))
        return "a RESULT's tumor contradicts its status";
    if (result->status == SCANSIDE_STATUS_OK &&
        (result->tumor == SCANSIDE_TUMOR_TRUE) != (has_area && result->area_px > 0))
        return "a RESULT's tumor contradicts its area";
    if (result->height != request->height || result->width != request->width)
        return "a RESULT is of another size than its frame";
    if (in_slot != handle->ring.shared ||
        (in_slot && result->slot != scn_request_slot(handle, request)))
        return "a RESULT names another slot than its request";
    if (result->mask_form != WIRE_MASK_NONE &&
        (result->mask_form != WIRE_MASK_BYTES || !request->mask_wanted))
        return "a RESULT has a mask that was not asked for";
    if (request->mask_wanted && has_area != (result->mask_form == WIRE_MASK_BYTES))
        return "a RESULT has an area without a mask, or a mask without an area";
    if (result->mask_bytes != mask_bytes || (has_area && result->area_px > pixels))
        return "a RESULT's mask has not the size of its frame";
    if (in_slot && (uint64_t)result->mask_offset + mask_bytes > handle->ring.slot_bytes)
        return "a RESULT's mask leaves its slot";
    if (header->payload - (in_slot ? 0 : mask_bytes) > WIRE_MAX_TEXT ||
        header->payload < (in_slot ? 0 : mask_bytes))
        return "a RESULT's payload is not its mask and its reason";
    if ((result->flags & WIRE_RESULT_PROBABILITY) != 0 &&
        !(result->tumor_probability >= 0 && result->tumor_probability <= 1))
        return "a RESULT's probability is none";
    if ((result->flags & WIRE_RESULT_BOX) != 0 &&
        !(result->box_top < result->box_bottom && result->box_bottom <= request->height &&
          result->box_left < result->box_right && result->box_right <= request->width))
        return "a RESULT's box is not inside its frame";
    return NULL;
}

static const char *begin_result(scanside_session *handle)
{
    struct wire_reader *reader = &handle->reader;
    struct request *request = scn_request_find(handle, reader->header.id);
    if (request == NULL || !scn_request_awaits_answer(handle, request))
        return "a RESULT answers no request";
    if (!scn_wire_get_result(reader->body, reader->header.body, &request->result))
        return "a RESULT is too short";
    const char *wrong = check_result(handle, request);
    if (wrong != NULL)
        return wrong;
    handle->answering = request;
    if (!handle->ring.shared && request->result.mask_form == WIRE_MASK_BYTES) {
        request->result.mask_offset = (uint32_t)scn_wire_mask_offset(request->frame_bytes);
        reader->first = scn_ring_slot(&handle->ring, scn_request_slot(handle, request)) +
                        request->result.mask_offset;
        reader->first_bytes = request->result.mask_bytes;
    }
    reader->rest = (uint8_t *)request->text;
    reader->rest_room = sizeof request->text;
    return NULL;
}

static const char *begin_error(scanside_session *handle)
{
    struct wire_reader *reader = &handle->reader;
    struct wire_error error;
    if (!scn_wire_get_error(reader->body, reader->header.body, &error) ||
        reader->header.payload > WIRE_MAX_TEXT)
        return "an ERROR is too short or too long";
    if (error.code == 0)
        return "an ERROR has the code of success";
    struct control *control = &handle->control;
    struct request *request = NULL;
    if (reader->header.id != 0 &&
        !(control->taken && !control->answered && control->id == reader->header.id)) {
        request = scn_request_find(handle, reader->header.id);
        if (request == NULL || !scn_request_awaits_answer(handle, request))
            return "an ERROR answers no request";
        request->code = error.code;
        request->cause = error.cause;
        reader->rest = (uint8_t *)request->text;
    } else {
        /* What the server says on its own goes where a control's answer would: it is fatal. */
        control->code = error.code;
        control->cause = error.cause;
        reader->rest = (uint8_t *)control->text;
    }
    handle->answering = request;
    reader->rest_room = REQUEST_TEXT;
    return NULL;
}

static const char *begin_control(scanside_session *handle)
{
    struct wire_reader *reader = &handle->reader;
    struct control *control = &handle->control;
    const uint8_t *body = reader->body;
    size_t size = reader->header.body;
    uint16_t kind = reader->header.kind;
    uint32_t flags = 0;

    handle->answering = NULL;
    if (kind == WIRE_DRAIN && reader->header.id == 0)
        return scn_wire_get_drain(body, size, &flags) && (flags & WIRE_DRAIN_GOING) != 0
                   ? NULL
                   : "a DRAIN is neither an answer nor an announcement";
    if (!control->taken || control->answered || control->id != reader->header.id ||
        control->kind != kind)
        return "a message answers no question";
    if (reader->header.payload > (kind == WIRE_HELLO ? WIRE_MAX_JSON : WIRE_MAX_TEXT))
        return "a message is longer than any of its kind";
    bool whole = kind == WIRE_HELLO    ? scn_wire_get_hello(body, size, &handle->hello)
                 : kind == WIRE_STATS  ? scn_wire_get_stats(body, size, &control->stats)
                 : kind == WIRE_ATTACH ? scn_wire_get_attach(body, size, &control->attach)
                                       : scn_wire_get_drain(body, size, &flags);
    if (kind == WIRE_HELLO) {
        reader->rest = (uint8_t *)handle->description;
        reader->rest_room = WIRE_MAX_JSON;
    }
    return whole ? NULL : "a message is too short";
}

/* A kind of a later version is skipped; its payload goes nowhere. */
static const char *begin(scanside_session *handle)
{
    switch (handle->reader.header.kind) {
    case WIRE_RESULT:
        return begin_result(handle);
    case WIRE_ERROR:
        return begin_error(handle);
    case WIRE_HELLO:
    case WIRE_STATS:
    case WIRE_DRAIN:
    case WIRE_ATTACH:
        return begin_control(handle);
    default:
        handle->answering = NULL;
        return NULL;
    }
}

static void answer_control(struct control *control)
{
    control->answered = true;
    if (control->late)
        control->taken = false;
}

static const char *end_error(scanside_session *handle)
{
    struct wire_reader *reader = &handle->reader;
    struct wire_error error;
    scn_wire_get_error(reader->body, reader->header.body, &error);
    bool fatal = (error.flags & WIRE_ERROR_FATAL) != 0;
    if (handle->answering != NULL) {
        end_text(handle->answering->text, REQUEST_TEXT, reader->header.payload);
        scn_request_answer(handle->answering);
        return fatal ? "the server ended the connection after an ERROR" : NULL;
    }
    struct control *control = &handle->control;
    end_text(control->text, REQUEST_TEXT, reader->header.payload);
    if (reader->header.id != 0) {
        answer_control(control);
        return NULL;
    }
    return control->text[0] != '\0' ? control->text : "the server ended the connection";
}

static const char *end(scanside_session *handle)
{
    struct wire_reader *reader = &handle->reader;
    struct request *request = handle->answering;
    switch (reader->header.kind) {
    case WIRE_RESULT:
        end_text(request->text, REQUEST_TEXT,
                 reader->header.payload - (handle->ring.shared ? 0 : request->result.mask_bytes));
        if (request->result.status == SCANSIDE_STATUS_REJECTED)
            request->code = SCANSIDE_ERROR_INPUT;
        request->has_result = true;
        scn_request_answer(request);
        return NULL;
    case WIRE_ERROR:
        return end_error(handle);
    case WIRE_HELLO:
        handle->description[reader->header.payload] = '\0'; /* fall through */
    case WIRE_STATS:
    case WIRE_ATTACH:
    case WIRE_DRAIN:
        if (reader->header.id != 0)
            answer_control(&handle->control);
        return NULL;
    default:
        return NULL;
    }
}

const char *scn_answers_take(scanside_session *handle, const uint8_t *data, size_t size)
{
    for (;;) {
        const char *wrong = NULL;
        switch (scn_wire_next(&handle->reader, &data, &size)) {
        case WIRE_MORE:
            return NULL;
        case WIRE_BROKEN:
            return "what the server sends is not of this protocol";
        case WIRE_BEGIN:
            wrong = begin(handle);
            break;
        case WIRE_END:
            wrong = end(handle);
            break;
        }
        if (wrong != NULL)
            return wrong;
    }
}
