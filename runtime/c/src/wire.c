/* Little-endian fields, one after the other, in the order of the tables in docs/protocol.md. */
#include "wire.h"

#include <string.h>

static const uint8_t magic[4] = {'S', 'C', 'N', 'S'};

struct writer {
    uint8_t *at;
};

static void put(struct writer *out, uint64_t value, size_t bytes)
{
    for (size_t n = 0; n < bytes; n++)
        *out->at++ = (uint8_t)(value >> 8 * n);
}

static void put_f64(struct writer *out, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put(out, bits, 8);
}

struct taker {
    const uint8_t *at;
};

static uint64_t take(struct taker *in, size_t bytes)
{
    uint64_t value = 0;
    for (size_t n = 0; n < bytes; n++)
        value |= (uint64_t)*in->at++ << 8 * n;
    return value;
}

static uint8_t take8(struct taker *in) { return (uint8_t)take(in, 1); }
static uint16_t take16(struct taker *in) { return (uint16_t)take(in, 2); }
static uint32_t take32(struct taker *in) { return (uint32_t)take(in, 4); }
static uint64_t take64(struct taker *in) { return take(in, 8); }

static double take_f64(struct taker *in)
{
    uint64_t bits = take(in, 8);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The last byte is NUL, whatever the other side says. */
static void take_text(struct taker *in, char *text, size_t size)
{
    memcpy(text, in->at, size);
    text[size - 1] = '\0';
    in->at += size;
}

size_t scn_wire_put_header(uint8_t *out, enum wire_kind kind, size_t body, size_t payload,
                           uint64_t id)
{
    struct writer to = {out};
    memcpy(to.at, magic, sizeof magic);
    to.at += sizeof magic;
    put(&to, (uint64_t)kind, 2);
    put(&to, body, 2);
    put(&to, payload, 4);
    put(&to, 0, 4);
    put(&to, id, 8);
    return WIRE_HEADER;
}

size_t scn_wire_put_hello(uint8_t *out, uint64_t id, uint32_t flags, size_t name_bytes)
{
    struct writer to = {out +
                        scn_wire_put_header(out, WIRE_HELLO, WIRE_HELLO_BODY, name_bytes, id)};
    put(&to, WIRE_MAJOR, 2);
    put(&to, WIRE_MINOR, 2);
    put(&to, flags, 4);
    return WIRE_HEADER + WIRE_HELLO_BODY;
}

size_t scn_wire_put_infer(uint8_t *out, uint64_t id, const struct wire_infer *infer, size_t payload)
{
    struct writer to = {out + scn_wire_put_header(out, WIRE_INFER, WIRE_INFER_BODY, payload, id)};
    put(&to, infer->height, 4);
    put(&to, infer->width, 4);
    put(&to, infer->channels, 2);
    put(&to, infer->dtype, 2);
    put(&to, infer->flags, 4);
    put(&to, infer->mask_form, 2);
    put(&to, 0, 2);
    put(&to, infer->slot, 4);
    put_f64(&to, infer->window_low);
    put_f64(&to, infer->window_high);
    put_f64(&to, infer->spacing_row);
    put_f64(&to, infer->spacing_column);
    put(&to, infer->deadline_ms, 4);
    put(&to, 0, 4);
    return WIRE_HEADER + WIRE_INFER_BODY;
}

size_t scn_wire_put_attach(uint8_t *out, uint64_t id, const struct wire_attach *attach)
{
    struct writer to = {out + scn_wire_put_header(out, WIRE_ATTACH, WIRE_ATTACH_BODY, 0, id)};
    put(&to, attach->slots, 4);
    put(&to, 0, 4);
    put(&to, attach->slot_bytes, 8);
    return WIRE_HEADER + WIRE_ATTACH_BODY;
}

bool scn_wire_get_header(const uint8_t in[WIRE_HEADER], struct wire_header *header)
{
    struct taker from = {in + sizeof magic};
    header->kind = take16(&from);
    header->body = take16(&from);
    header->payload = take32(&from);
    take32(&from);
    header->id = take64(&from);
    return memcmp(in, magic, sizeof magic) == 0 && header->body <= WIRE_MAX_BODY;
}

bool scn_wire_get_hello(const uint8_t *body, size_t size, struct wire_hello *hello)
{
    if (size < 328)
        return false;
    struct taker from = {body};
    hello->major = take16(&from);
    hello->minor = take16(&from);
    hello->flags = take32(&from);
    hello->max_in_flight = take32(&from);
    hello->max_payload = take32(&from);
    hello->max_bytes_in_flight = take64(&from);
    hello->max_shared_bytes = take64(&from);
    hello->max_slots = take32(&from);
    hello->queue_depth = take32(&from);
    hello->watchdog_ms = take32(&from);
    hello->message_timeout_ms = take32(&from);
    hello->min_side = take16(&from);
    hello->max_side = take16(&from);
    hello->channels = take16(&from);
    hello->dtypes = take16(&from);
    hello->gate = take_f64(&from);
    hello->decision = take_f64(&from);
    hello->mask = take_f64(&from);
    hello->pid = take32(&from);
    hello->restarts = take32(&from);
    memcpy(hello->bundle_sha256, from.at, sizeof hello->bundle_sha256);
    from.at += sizeof hello->bundle_sha256;
    take_text(&from, hello->version, sizeof hello->version);
    take_text(&from, hello->backend, sizeof hello->backend);
    take_text(&from, hello->precision, sizeof hello->precision);
    take_text(&from, hello->bundle, sizeof hello->bundle);
    take_text(&from, hello->license, sizeof hello->license);
    return true;
}

bool scn_wire_get_result(const uint8_t *body, size_t size, struct wire_result *result)
{
    if (size < 96)
        return false;
    struct taker from = {body};
    result->status = take8(&from);
    result->tumor = take8(&from);
    result->segmented = take8(&from);
    result->mask_form = take8(&from);
    result->flags = take32(&from);
    result->tumor_probability = take_f64(&from);
    result->area_px = take32(&from);
    result->components = take32(&from);
    result->area_mm2 = take_f64(&from);
    result->box_top = take32(&from);
    result->box_left = take32(&from);
    result->box_bottom = take32(&from);
    result->box_right = take32(&from);
    result->height = take32(&from);
    result->width = take32(&from);
    result->queue_us = take32(&from);
    result->preprocess_us = take32(&from);
    result->classify_us = take32(&from);
    result->segment_us = take32(&from);
    result->postprocess_us = take32(&from);
    result->total_us = take32(&from);
    result->mask_bytes = take32(&from);
    result->mask_offset = take32(&from);
    result->slot = take32(&from);
    return true;
}

bool scn_wire_get_error(const uint8_t *body, size_t size, struct wire_error *error)
{
    if (size < 8)
        return false;
    struct taker from = {body};
    error->code = take16(&from);
    error->cause = take16(&from);
    error->flags = take32(&from);
    return true;
}

bool scn_wire_get_stats(const uint8_t *body, size_t size, struct wire_stats *stats)
{
    if (size < 96)
        return false;
    struct taker from = {body};
    stats->uptime_us = take64(&from);
    stats->accepted = take64(&from);
    stats->answered = take64(&from);
    stats->failed = take64(&from);
    stats->dropped = take64(&from);
    stats->refused = take64(&from);
    stats->in_flight = take64(&from);
    stats->clients = take64(&from);
    stats->restarts = take64(&from);
    stats->rss_bytes = take64(&from);
    stats->indeterminate = take64(&from);
    stats->rejected = take64(&from);
    return true;
}

bool scn_wire_get_drain(const uint8_t *body, size_t size, uint32_t *flags)
{
    if (size < 8)
        return false;
    struct taker from = {body};
    *flags = take32(&from);
    return true;
}

bool scn_wire_get_attach(const uint8_t *body, size_t size, struct wire_attach *attach)
{
    if (size < WIRE_ATTACH_BODY)
        return false;
    struct taker from = {body};
    attach->slots = take32(&from);
    take32(&from);
    attach->slot_bytes = take64(&from);
    return true;
}

size_t scn_wire_mask_offset(size_t frame_bytes)
{
    return (frame_bytes + WIRE_MASK_ALIGNMENT - 1) / WIRE_MASK_ALIGNMENT * WIRE_MASK_ALIGNMENT;
}

/* Move input to `to` until `wanted` bytes of this part are there; tell whether they are. */
static bool fill(struct wire_reader *reader, uint8_t *to, size_t wanted, const uint8_t **data,
                 size_t *size)
{
    size_t missing = wanted - reader->filled;
    size_t part = missing < *size ? missing : *size;
    memcpy(to + reader->filled, *data, part);
    reader->filled += part;
    *data += part;
    *size -= part;
    return part == missing;
}

/* Copy what of the payload's bytes [begin, begin + size) belongs to its piece at [from, from +
 * room) of the payload. */
static void copy_piece(uint8_t *to, size_t from, size_t room, const uint8_t *data, size_t begin,
                       size_t size)
{
    size_t first = begin > from ? begin : from;
    size_t last = begin + size < from + room ? begin + size : from + room;
    if (to != NULL && first < last)
        memcpy(to + (first - from), data + (first - begin), last - first);
}

static bool fill_payload(struct wire_reader *reader, const uint8_t **data, size_t *size)
{
    size_t missing = reader->header.payload - reader->filled;
    size_t part = missing < *size ? missing : *size;
    copy_piece(reader->first, 0, reader->first_bytes, *data, reader->filled, part);
    copy_piece(reader->rest, reader->first_bytes, reader->rest_room, *data, reader->filled, part);
    reader->filled += part;
    *data += part;
    *size -= part;
    return part == missing;
}

enum wire_event scn_wire_next(struct wire_reader *reader, const uint8_t **data, size_t *size)
{
    switch (reader->part) {
    case READ_HEAD:
        if (!fill(reader, reader->head, WIRE_HEADER, data, size))
            return WIRE_MORE;
        if (!scn_wire_get_header(reader->head, &reader->header))
            return WIRE_BROKEN;
        reader->part = READ_BODY;
        reader->filled = 0; /* fall through */
    case READ_BODY:
        if (!fill(reader, reader->body, reader->header.body, data, size))
            return WIRE_MORE;
        reader->part = READ_PAYLOAD;
        reader->filled = 0;
        reader->first = reader->rest = NULL;
        reader->first_bytes = reader->rest_room = 0;
        return WIRE_BEGIN;
    case READ_PAYLOAD:
        if (!fill_payload(reader, data, size))
            return WIRE_MORE;
        reader->part = READ_HEAD;
        reader->filled = 0;
        return WIRE_END;
    }
    return WIRE_BROKEN;
}
