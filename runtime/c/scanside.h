/* scanside.h: a scanner console's way to scanside, in C99.
 *
 * scanside_open starts `scanside serve` as a child process; frames go to it and results and masks
 * come back. The quick start is in docs/embedding.md, the protocol below in docs/protocol.md.
 * Research use only: not a medical device.
 *
 * Results. Every function that can fail returns an int32_t: 0, or a SCANSIDE_ERROR_ below.
 * scanside_strerror names it; scanside_last_error says what happened and what to do.
 *
 * Memory. Every buffer is the caller's and is used during the call alone. The library takes memory
 * in scanside_open and scanside_restart, none for a request.
 *
 * Structures. The caller calls the structure's _init function first, which fills in `struct_size`
 * and the defaults, so that a library with more fields serves a caller compiled with fewer.
 *
 * Threads. One handle may be used by any number of threads at once. Only scanside_close must be
 * alone: no other call on the handle may be under way or come after it. The library starts no
 * thread, installs no signal handler, raises no SIGPIPE, and waits for no process but its own
 * child; every descriptor it opens is close-on-exec. A handle belongs to the process that opened
 * it: after fork, the only call the child of fork may make is scanside_close, which there frees
 * memory and leaves the server alone.
 *
 * Time. Time-outs are milliseconds on the monotonic clock; 0 looks and does not wait,
 * SCANSIDE_FOREVER waits.
 */
#ifndef SCANSIDE_H
#define SCANSIDE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SCANSIDE_VERSION_MAJOR 0
#define SCANSIDE_VERSION_MINOR 1
#define SCANSIDE_VERSION_PATCH 0

#define SCANSIDE_FOREVER UINT32_MAX

/* The server's codes are positive and equal the command line's exit codes (docs/results.md);
 * the library's own are negative. */
enum {
    SCANSIDE_OK = 0,
    SCANSIDE_ERROR_USAGE = 2,     /* the server: a request that makes no sense */
    SCANSIDE_ERROR_INPUT = 3,     /* the server: an image that is not accepted */
    SCANSIDE_ERROR_BUNDLE = 4,    /* the server: a bundle or engine that is not accepted */
    SCANSIDE_ERROR_PARITY = 5,    /* the server: its self-test failed */
    SCANSIDE_ERROR_BACKEND = 8,   /* the server: a device that failed, hung or is not there */
    SCANSIDE_ERROR_OUTPUT = 9,    /* the server: something could not be written */
    SCANSIDE_ERROR_INTERNAL = 70, /* the server: a defect of scanside_session */
    SCANSIDE_ERROR_ARGUMENT = -1, /* a call that makes no sense; nothing was done */
    SCANSIDE_ERROR_TIMEOUT = -2,  /* not within the time given; each function says what holds */
    SCANSIDE_ERROR_LOST = -3,     /* the server went before it answered; it may have computed */
    SCANSIDE_ERROR_DOWN = -4,     /* no server: scanside_restart; nothing was accepted */
    SCANSIDE_ERROR_START = -5,    /* the server could not be started */
    SCANSIDE_ERROR_VERSION = -6,  /* the server speaks another version of the protocol */
    SCANSIDE_ERROR_SYSTEM = -7,   /* the operating system refused memory or a descriptor */
    SCANSIDE_ERROR_BUFFER = -8    /* the mask's buffer is too small; the answer is kept */
};

/* Why the server gave an error, finer than its code: the causes of docs/protocol.md. */
enum {
    SCANSIDE_CAUSE_NONE = 0,
    SCANSIDE_CAUSE_UNSUPPORTED = 3,
    SCANSIDE_CAUSE_REQUEST = 4,
    SCANSIDE_CAUSE_QUEUE_FULL = 5,
    SCANSIDE_CAUSE_TOO_LARGE = 6,
    SCANSIDE_CAUSE_TIMEOUT = 7, /* not begun within `deadline_ms` */
    SCANSIDE_CAUSE_HUNG = 8,    /* the backend hung: the server restarts it by itself */
    SCANSIDE_CAUSE_BACKEND = 9,
    SCANSIDE_CAUSE_DRAINING = 10,
    SCANSIDE_CAUSE_INTERNAL = 11,
    SCANSIDE_CAUSE_SHARED_MEMORY = 12,
    SCANSIDE_CAUSE_START = 13
};

/* A running server, with what is in flight. */
typedef struct scanside_session scanside_session;

/* One line of the server's log, without its newline, cut at 1023 bytes.
 *
 * Called inside any call on the handle, on the thread that made it, by one thread at a time. It
 * must not call the library with this handle. */
typedef void (*scanside_log_function)(void *context, const char *line);

/* ---- opening ------------------------------------------------------------------------------- */

enum {
    /* Frames and masks travel through the socket, not through shared memory: slower. */
    SCANSIDE_NO_SHARED_MEMORY = 1,
    /* Answers come in the order of the requests; otherwise as they finish. */
    SCANSIDE_ORDERED = 2
};

typedef struct scanside_options {
    uint32_t struct_size;
    uint32_t flags;
    /* Absolute path of the scanside executable: nothing is searched for. Required. */
    const char *executable;
    /* What follows `scanside serve`, NULL at the end: "--bundle", "/opt/lgg", NULL. NULL: none. */
    const char *const *arguments;
    /* The server's environment, "NAME=value", NULL at the end. NULL: the host's. */
    const char *const *environment;
    /* Takes the server's log. NULL: the server's stderr is the host's. */
    scanside_log_function log;
    void *log_context;
    /* Requests in flight, at most 1024; 0: what keeps the server busy. */
    uint32_t slots;
    /* Until the server's models are loaded and checked. Default: 60000. */
    uint32_t start_timeout_ms;
    /* Bytes of one slot, which holds a frame and its mask: the frame's bytes rounded up to 64,
     * and height x width. Default: 2 MiB, enough for 512 x 512 x 3 pixels of 16 bits.
     * slots x slot_bytes are taken when the server starts. */
    uint64_t slot_bytes;
} scanside_options;

void scanside_options_init(scanside_options *options, size_t struct_size);

/* Start a server and wait until it is ready.
 *
 * Returns the server's own code where it refused to start (a bundle: SCANSIDE_ERROR_BUNDLE), or
 * ARGUMENT, TIMEOUT, START, VERSION, SYSTEM; then *handle is NULL and no process is left. */
int32_t scanside_open(const scanside_options *options, scanside_session **handle);

/* Start the server anew where it is DOWN, with the options of scanside_open; otherwise do nothing.
 *
 * Any thread that met LOST or DOWN may call it: while one thread starts the server, others wait for
 * its outcome. Answers that were not waited for are LOST too; tickets keep their numbers, so that
 * none is taken for another. Errors as scanside_open; then the handle is still DOWN. */
int32_t scanside_restart(scanside_session *handle);

/* Kill the server at once: what is in flight is LOST. For a console that ends, or that will not
 * wait for the watchdog of a server that hangs. DOWN where there is none. */
int32_t scanside_kill(scanside_session *handle);

/* Let the server answer what is in flight, end it, reap it, and free everything.
 *
 * A server that has not ended after `timeout_ms` is killed. What was not waited for is dropped.
 * NULL is allowed. Returns OK if the server ended by itself with 0; otherwise TIMEOUT (it was
 * killed) or DOWN (it had ended before, or with another code). The handle is gone in any case. */
int32_t scanside_close(scanside_session *handle, uint32_t timeout_ms);

/* ---- a slice ------------------------------------------------------------------------------- */

enum { SCANSIDE_U8 = 1, SCANSIDE_U16 = 2, SCANSIDE_F32 = 3 };

enum {
    SCANSIDE_WINDOW = 1,      /* window_low and window_high are given */
    SCANSIDE_SPACING = 2,     /* spacing_row and spacing_column are given */
    SCANSIDE_FILL_MISSING = 4 /* one channel: FLAIR, which stands in for the other sequences */
};

/* One slice: pre-contrast, FLAIR and post-contrast on one grid, native byte order. */
typedef struct scanside_image {
    uint32_t struct_size;
    uint32_t flags;
    uint32_t height, width; /* pixels */
    uint32_t channels;      /* default: 3; 1 with SCANSIDE_FILL_MISSING */
    uint32_t dtype;         /* default: SCANSIDE_U8 */
    /* Either [height][width][channels] in one piece ... */
    const void *pixels;
    /* ... or, with `pixels` NULL, [height][width] for each sequence. */
    const void *planes[3];
    /* Bytes from one row to the next; 0: rows without padding. */
    uint64_t row_bytes;
    /* The stored values that become black and white: the same for every slice of the series.
     * Needed for U16 and F32, refused for U8. */
    double window_low, window_high;
    double spacing_row, spacing_column; /* millimetres between rows, between columns */
    /* A request that the server has not begun so long after it came is answered by
     * SCANSIDE_ERROR_BACKEND, SCANSIDE_CAUSE_TIMEOUT. 0: no deadline. */
    uint32_t deadline_ms;
    uint32_t no_mask; /* 1: the mask is not wanted */
} scanside_image;

void scanside_image_init(scanside_image *image, size_t struct_size);

/* ---- a result ------------------------------------------------------------------------------ */

enum {
    SCANSIDE_STATUS_OK = 0,
    SCANSIDE_STATUS_INDETERMINATE = 1, /* the models contradict each other: `reason` says how */
    SCANSIDE_STATUS_REJECTED = 2,      /* the image is not accepted */
    SCANSIDE_STATUS_NONE = 3           /* there is no result: the call's code says why */
};

enum {
    SCANSIDE_TUMOR_FALSE = 0, /* the algorithm found no region: never "no tumour" */
    SCANSIDE_TUMOR_TRUE = 1,
    SCANSIDE_TUMOR_UNKNOWN = 2
};

enum {
    SCANSIDE_HAS_PROBABILITY = 1,
    SCANSIDE_HAS_AREA = 2,
    SCANSIDE_HAS_AREA_MM2 = 4,
    SCANSIDE_HAS_BOX = 8,
    SCANSIDE_FILLED = 16,       /* FLAIR stood in for the other sequences */
    SCANSIDE_NULL_BACKEND = 64, /* nothing was computed: the result is made up */
    SCANSIDE_HAS_MASK = 65536   /* the mask was written to the caller's buffer */
};

typedef struct scanside_result {
    uint32_t struct_size;
    uint32_t flags;
    uint64_t ticket;
    uint32_t status;          /* SCANSIDE_STATUS_ */
    uint32_t tumor;           /* SCANSIDE_TUMOR_ */
    uint32_t segmented;       /* 1: the segmenter saw the slice */
    uint32_t cause;           /* SCANSIDE_CAUSE_, where the server answered by an error */
    double tumor_probability; /* NaN where it is not known */
    double area_mm2;          /* NaN where there is no area or no spacing */
    uint32_t height, width;   /* of the image and of its mask */
    uint32_t area_px;         /* mask pixels */
    uint32_t components;      /* 8-connected parts of the mask */
    /* The smallest box around the mask, ends excluded, with SCANSIDE_HAS_BOX. */
    uint32_t box_top, box_left, box_bottom, box_right;
    /* Microseconds in the server; `total_us` from the request's last byte to the answer. */
    uint32_t queue_us, preprocess_us, classify_us, segment_us, postprocess_us, total_us;
    char reason[256]; /* where status is not OK, or the server answered by an error */
} scanside_result;

void scanside_result_init(scanside_result *result, size_t struct_size);

/* Analyse one slice: scanside_submit and scanside_wait in one call, with one time-out.
 *
 * As scanside_wait; on TIMEOUT the answer, when it comes, is dropped. */
int32_t scanside_infer(scanside_session *handle, const scanside_image *image,
                       scanside_result *result, uint8_t *mask, size_t mask_bytes,
                       uint32_t timeout_ms);

/* Hand a slice over, waiting for a free slot if need be; the pixels are copied.
 *
 * OK: accepted, and *ticket (never 0) gets exactly one answer or LOST from scanside_wait. With any
 * other value nothing was accepted: TIMEOUT, ARGUMENT, DOWN. */
int32_t scanside_submit(scanside_session *handle, const scanside_image *image, uint64_t *ticket,
                        uint32_t timeout_ms);

#define SCANSIDE_ANY 0 /* a ticket: whichever answer is there first */

/* Wait for the answer to a ticket.
 *
 * `mask` has room for height x width bytes, which become 1 inside and 0 outside, or all 0 where
 * there is no mask: SCANSIDE_HAS_MASK tells which. It may be NULL (then `mask_bytes` is 0).
 * `result` may be NULL, except with SCANSIDE_ANY. Without an answer `mask` is left as it is.
 *
 * OK: the slice was analysed; look at `status` and `tumor`. A positive code: the server's error,
 * SCANSIDE_ERROR_INPUT for an image that is not accepted; SCANSIDE_ERROR_INTERNAL too where the
 * mask is not the one that the server measured. LOST: the server went. After these the ticket is
 * spent. TIMEOUT, BUFFER: it still holds. ARGUMENT: there is no such ticket, or another thread waits
 * for it. With SCANSIDE_ANY, DOWN: there is no server and no answer is left. */
int32_t scanside_wait(scanside_session *handle, uint64_t ticket, scanside_result *result,
                      uint8_t *mask, size_t mask_bytes, uint32_t timeout_ms);

/* Give a ticket up: its answer is dropped. The slot is free again once the answer has come. */
int32_t scanside_forget(scanside_session *handle, uint64_t ticket);

/* ---- the server ---------------------------------------------------------------------------- */

enum {
    SCANSIDE_SERVER_ORDERED = 1,
    SCANSIDE_SERVER_SELF_TEST_PASSED = 2,  /* golden slices gave what the bundle recorded */
    SCANSIDE_SERVER_SELF_TEST_SKIPPED = 4, /* --skip-self-test */
    SCANSIDE_SERVER_NULL_BACKEND = 8,      /* every result is made up */
    SCANSIDE_SERVER_STREAMING = 16,        /* made for the most slices a second */
    SCANSIDE_SERVER_FALLBACK = 32,         /* a better backend could not be used */
    SCANSIDE_SERVER_SHARED_MEMORY = 64     /* frames and masks are in shared memory */
};

/* What the server said when it started. Texts are UTF-8. */
typedef struct scanside_info {
    uint32_t struct_size;
    uint32_t flags; /* SCANSIDE_SERVER_ */
    uint32_t protocol_major, protocol_minor;
    uint32_t slots; /* requests in flight */
    uint32_t queue_depth; /* requests in flight that keep the server busy */
    uint64_t slot_bytes;
    uint32_t watchdog_ms;        /* longest computation before the backend counts as hung */
    uint32_t restarts;           /* of the backend, in this server */
    uint32_t min_side, max_side; /* accepted height and width */
    double gate, decision, mask; /* the bundle's thresholds */
    int64_t pid;                 /* of the child */
    uint8_t bundle_sha256[32];   /* of the bundle's manifest */
    char version[24], backend[16], precision[8], bundle[96];
    char license[64]; /* of the weights */
} scanside_info;

void scanside_info_init(scanside_info *info, size_t struct_size);

/* Tell what the server is; DOWN where there is none. */
int32_t scanside_get_info(scanside_session *handle, scanside_info *info);

/* Copy the server's own description, JSON, with NUL at the end: the licence's notice, versions of
 * libraries. *size is the room and becomes what is needed; BUFFER where the room is too small. */
int32_t scanside_get_description(scanside_session *handle, char *text, size_t *size);

/* Counters over all clients since the server's first start. */
typedef struct scanside_statistics {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t uptime_us;
    uint64_t accepted, answered, failed, dropped, refused, in_flight, clients, restarts;
    uint64_t rss_bytes;
    uint64_t indeterminate, rejected;
} scanside_statistics;

void scanside_statistics_init(scanside_statistics *statistics, size_t struct_size);

/* Ask the server for its counters. TIMEOUT, LOST, DOWN; one thread at a time, others wait. */
int32_t scanside_get_statistics(scanside_session *handle, scanside_statistics *statistics,
                                uint32_t timeout_ms);

/* ---- errors -------------------------------------------------------------------------------- */

/* The name of a code, "SCANSIDE_ERROR_LOST"; never NULL. */
const char *scanside_strerror(int32_t code);

/* What went wrong in this thread's last call that failed: what was given, what is accepted, what
 * to do. "" if none did. Valid until this thread's next failure. */
const char *scanside_last_error(void);

/* Version of the library as MAJOR * 10000 + MINOR * 100 + PATCH. */
uint32_t scanside_version(void);

#ifdef __cplusplus
}
#endif

#endif
