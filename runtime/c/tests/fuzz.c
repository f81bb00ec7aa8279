/* libFuzzer on what the library believes of a server: `make fuzz`.
 *
 * An input is either the server's bytes as they are, or edits of a conversation that is valid, so
 * that the checks behind the first header are reached. No socket and no process: what is received
 * is handed to the code that takes it, in pieces of the input's choice. */
#include <stdlib.h>
#include <string.h>

#include "src/answers.h"
#include "src/requests.h"
#include "src/ring.h"

enum {
    HEIGHT = 16,
    WIDTH = 24,
    PIXELS = HEIGHT * WIDTH,
    SLOTS = 4,
    SLOT_BYTES = 4096,
    ROOM = 4096
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static scanside_session session;
static struct request requests[SLOTS];
static uint8_t memory[SLOTS * SLOT_BYTES];
static char description[WIRE_MAX_JSON + 1];

/* Four requests in flight, the last one not wholly sent, and a question. */
static void begin(bool shared, uint16_t question)
{
    memset(&session, 0, sizeof session);
    memset(requests, 0, sizeof requests);
    session.state = SERVER_UP;
    session.slots = SLOTS;
    session.requests = requests;
    session.description = description;
    session.ring = (struct ring){memory, sizeof memory, SLOT_BYTES, -1, shared};
    for (uint32_t n = 0; n < SLOTS; n++) {
        struct request *request = scn_request_take(&session);
        request->height = HEIGHT;
        request->width = WIDTH;
        request->frame_bytes = PIXELS * 3;
        request->mask_wanted = n != 1;
        request->state = n + 1 < SLOTS ? REQUEST_SENT : REQUEST_QUEUED;
    }
    requests[2].forgotten = true;
    scn_queue_add(&session, SLOTS - 1);
    session.queue_sent = sizeof requests[0].message + 1;
    session.control.taken = true;
    session.control.id = ++session.last_id;
    session.control.kind = question;
}

static uint8_t *put(uint8_t *at, uint64_t value, int bytes)
{
    for (int n = 0; n < bytes; n++)
        *at++ = (uint8_t)(value >> 8 * n);
    return at;
}

/* A RESULT as the server would send it: a mask of two pixels, and a reason if any. */
static uint8_t *put_result(uint8_t *at, uint64_t id, bool shared, bool mask)
{
    size_t mask_bytes = mask ? PIXELS : 0;
    at += scn_wire_put_header(at, WIRE_RESULT, 96, shared ? 0 : mask_bytes, id);
    uint8_t *body = at;
    memset(body, 0, 96);
    memcpy(body, mask ? "\0\1\1\1" : "\1\2\0\0", 4); /* ok and found, or indeterminate */
    put(body + 4, (mask ? WIRE_RESULT_AREA | WIRE_RESULT_BOX : 0) | (shared ? WIRE_RESULT_SLOT : 0),
        4);
    put(body + 16, mask ? 2 : 0, 4);
    put(body + 40, 1, 4);
    put(body + 44, 2, 4);
    put(body + 48, HEIGHT, 4);
    put(body + 52, WIDTH, 4);
    put(body + 80, mask_bytes, 4);
    put(body + 84, shared && mask ? scn_wire_mask_offset(PIXELS * 3) : 0, 4);
    put(body + 88, shared ? id - 1 : WIRE_NO_SLOT, 4);
    at += 96;
    if (!shared) {
        memset(at, 0, mask_bytes);
        if (mask)
            at[0] = at[1] = 1;
        at += mask_bytes;
    }
    return at;
}

/* Answers to all of it; the bytes. */
static size_t valid_conversation(uint8_t *stream, bool shared, uint16_t question)
{
    static const size_t bodies[] = {
        [WIRE_HELLO] = 328, [WIRE_STATS] = 96, [WIRE_DRAIN] = 8, [WIRE_ATTACH] = 16};
    uint8_t *at = put_result(stream, 1, shared, true);
    at = put_result(at, 2, shared, false);
    at += scn_wire_put_header(at, (enum wire_kind)question, bodies[question], 4, SLOTS + 1);
    memset(at, 1, bodies[question] + 4);
    at += bodies[question] + 4;
    at += scn_wire_put_header(at, WIRE_DRAIN, 8, 0, 0);
    at = put(at, WIRE_DRAIN_GOING, 8);
    for (uint64_t id = 3; id <= SLOTS; id++) {
        at += scn_wire_put_header(at, WIRE_ERROR, 8, 5, id);
        at = put(at, 8 | 9 << 16, 8);
        memcpy(at, "a r\xc3\xa9", 5);
        at += 5;
    }
    return (size_t)(at - stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t questions[] = {WIRE_HELLO, WIRE_STATS, WIRE_DRAIN, WIRE_ATTACH};
    static uint8_t stream[ROOM];
    if (size < 2)
        return 0;
    bool shared = (data[0] & 1) != 0, edited = (data[0] & 2) != 0;
    uint16_t question = questions[data[0] >> 2 & 3];
    size_t piece = (size_t)data[1] + 1, length = 0, edits = 0;
    data += 2;
    size -= 2;
    begin(shared, question);
    if (edited) {
        length = valid_conversation(stream, shared, question);
        for (; size >= 3; data += 3, size -= 3, edits++)
            stream[(size_t)(data[0] | data[1] << 8) % length] = data[2];
    } else {
        length = size < ROOM ? size : ROOM;
        memcpy(stream, data, length);
    }
    const char *wrong = NULL;
    for (size_t at = 0; at < length && wrong == NULL; at += piece) {
        size_t part = length - at < piece ? length - at : piece;
        uint8_t *copy = malloc(part); /* of its own, so that a read beyond it is seen */
        memcpy(copy, stream + at, part);
        wrong = scn_answers_take(&session, copy, part);
        free(copy);
    }
    if (edited && edits == 0 && wrong != NULL) /* else the checks behind it are never reached */
        abort();
    for (uint32_t n = 0; n < SLOTS; n++)
        if (memchr(requests[n].text, '\0', sizeof requests[n].text) == NULL)
            abort();
    scn_request_sent(&requests[SLOTS - 1]);
    scn_requests_lose(&session, false);
    for (uint32_t n = 0; n < SLOTS; n++) /* each is answered, lost, or given up: exactly one */
        if (!scn_request_done(&requests[n]) && !(n == 2 && requests[n].state == REQUEST_FREE))
            abort();
    return 0;
}
