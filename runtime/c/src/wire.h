/* The protocol's bytes (docs/protocol.md): what a client encodes and decodes, and nothing else.
 * No input or output, no memory taken: every function is one of its arguments alone. */
#ifndef SCANSIDE_WIRE_H
#define SCANSIDE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WIRE_MAJOR = 1,
    WIRE_MINOR = 0,
    WIRE_HEADER = 24,
    WIRE_MAX_BODY = 1024, /* of any message */
    WIRE_MAX_TEXT = 4096, /* of an error, of a reason */
    /* Of the JSON in the server's HELLO; some kilobytes are usual. */
    WIRE_MAX_JSON = 64 * 1024,
    WIRE_SLOT_ALIGNMENT = 4096,
    WIRE_MASK_ALIGNMENT = 64,
    WIRE_HELLO_BODY = 8,
    WIRE_INFER_BODY = 64,
    WIRE_ATTACH_BODY = 16
};

#define WIRE_NO_SLOT UINT32_MAX

enum wire_kind {
    WIRE_HELLO = 1,
    WIRE_INFER = 2,
    WIRE_RESULT = 3,
    WIRE_ERROR = 4,
    WIRE_STATS = 5,
    WIRE_DRAIN = 6,
    WIRE_PING = 7,
    WIRE_ATTACH = 8
};

enum wire_mask_form { WIRE_MASK_NONE = 0, WIRE_MASK_BYTES = 1 };

enum wire_hello_flag { WIRE_HELLO_ORDERED = 1, WIRE_HELLO_SHARED_MEMORY = 64 };

enum wire_infer_flag {
    WIRE_INFER_WINDOW = 1,
    WIRE_INFER_SPACING = 2,
    WIRE_INFER_FILL_MISSING = 4,
    WIRE_INFER_SLOT = 8
};

enum wire_result_flag {
    WIRE_RESULT_PROBABILITY = 1,
    WIRE_RESULT_AREA = 2,
    WIRE_RESULT_AREA_MM2 = 4,
    WIRE_RESULT_BOX = 8,
    WIRE_RESULT_SLOT = 32
};

enum wire_error_flag { WIRE_ERROR_FATAL = 1 };

enum wire_drain_flag { WIRE_DRAIN_GOING = 1 };

struct wire_header {
    uint16_t kind, body;
    uint32_t payload;
    uint64_t id;
};

struct wire_hello {
    uint16_t major, minor;
    uint32_t flags, max_in_flight, max_payload;
    uint64_t max_bytes_in_flight, max_shared_bytes;
    uint32_t max_slots, queue_depth, watchdog_ms, message_timeout_ms;
    uint16_t min_side, max_side, channels, dtypes;
    double gate, decision, mask;
    uint32_t pid, restarts;
    uint8_t bundle_sha256[32];
    char version[24], backend[16], precision[8], bundle[96], license[64];
};

struct wire_infer {
    uint32_t height, width;
    uint16_t channels, dtype;
    uint32_t flags;
    uint16_t mask_form;
    uint32_t slot;
    double window_low, window_high, spacing_row, spacing_column;
    uint32_t deadline_ms;
};

struct wire_result {
    uint8_t status, tumor, segmented, mask_form;
    uint32_t flags;
    double tumor_probability;
    uint32_t area_px, components;
    double area_mm2;
    uint32_t box_top, box_left, box_bottom, box_right;
    uint32_t height, width;
    uint32_t queue_us, preprocess_us, classify_us, segment_us, postprocess_us, total_us;
    uint32_t mask_bytes, mask_offset, slot;
};

struct wire_error {
    uint16_t code, cause;
    uint32_t flags;
};

struct wire_stats {
    uint64_t uptime_us, accepted, answered, failed, dropped, refused, in_flight, clients;
    uint64_t restarts, rss_bytes, indeterminate, rejected;
};

struct wire_attach {
    uint32_t slots;
    uint64_t slot_bytes;
};

/* Encode a header, or header and body; `out` has room for both. Return their bytes. */
size_t scn_wire_put_header(uint8_t *out, enum wire_kind kind, size_t body, size_t payload,
                           uint64_t id);
size_t scn_wire_put_hello(uint8_t *out, uint64_t id, uint32_t flags, size_t name_bytes);
size_t scn_wire_put_infer(uint8_t *out, uint64_t id, const struct wire_infer *infer,
                          size_t payload);
size_t scn_wire_put_attach(uint8_t *out, uint64_t id, const struct wire_attach *attach);

/* Decode; false where the bytes are no header, or the body is shorter than its table. */
bool scn_wire_get_header(const uint8_t in[WIRE_HEADER], struct wire_header *header);
bool scn_wire_get_hello(const uint8_t *body, size_t size, struct wire_hello *hello);
bool scn_wire_get_result(const uint8_t *body, size_t size, struct wire_result *result);
bool scn_wire_get_error(const uint8_t *body, size_t size, struct wire_error *error);
bool scn_wire_get_stats(const uint8_t *body, size_t size, struct wire_stats *stats);
bool scn_wire_get_drain(const uint8_t *body, size_t size, uint32_t *flags);
bool scn_wire_get_attach(const uint8_t *body, size_t size, struct wire_attach *attach);

/* Where in a slot the mask begins, after a frame of so many bytes. */
size_t scn_wire_mask_offset(size_t frame_bytes);

/* A stream of bytes cut into messages, however the bytes arrive. */
struct wire_reader {
    struct wire_header header;
    uint8_t head[WIRE_HEADER];
    uint8_t body[WIRE_MAX_BODY];
    size_t filled;  /* of the part that is being read */
    uint8_t *first; /* where the payload's first `first_bytes` go; set at WIRE_BEGIN */
    size_t first_bytes;
    uint8_t *rest;    /* and where what follows goes; NULL: nowhere */
    size_t rest_room; /* what is beyond it is dropped */
    enum { READ_HEAD, READ_BODY, READ_PAYLOAD } part;
};

enum wire_event {
    WIRE_MORE,  /* the input is used up */
    WIRE_BEGIN, /* header and body are there: say where the payload goes */
    WIRE_END,   /* so is the payload */
    WIRE_BROKEN /* no message of this protocol */
};

/* Go on to the next event; `*data` and `*size` move past what was used. */
enum wire_event scn_wire_next(struct wire_reader *reader, const uint8_t **data, size_t *size);

#endif
