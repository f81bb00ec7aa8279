/* What a handle holds. Everything in it is guarded by `lock`, but for what is said otherwise. */
#ifndef SCANSIDE_HANDLE_H
#define SCANSIDE_HANDLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "scanside.h"
#include "process.h"
#include "wire.h"

enum {
    MAX_SLOTS = 1024,
    REQUEST_TEXT = 512,
    LOG_LINE = 1024,
    RECEIVE_BYTES = 128 * 1024,
    CONTROL_MESSAGE = 128
};

#define QUEUE_CONTROL UINT32_MAX

/* A request has a slot from when it is made until its answer has been taken, so that there are as
 * many records as slots. */
enum request_state {
    REQUEST_FREE,
    REQUEST_FILLING, /* a thread copies its frame in; nobody else touches it */
    REQUEST_QUEUED,  /* not sent, or not wholly */
    REQUEST_SENT,    /* the slot is the server's */
    REQUEST_ANSWERED,
    REQUEST_LOST,
    REQUEST_TAKING /* a thread copies its mask out; nobody else touches it */
};

struct request {
    enum request_state state;
    bool forgotten; /* nobody waits for the answer */
    bool claimed;   /* a thread waits for this one */
    bool early;     /* answered before it was wholly sent */
    uint64_t id;    /* the ticket */
    uint32_t height, width;
    size_t frame_bytes;
    bool mask_wanted;
    uint8_t message[WIRE_HEADER + WIRE_INFER_BODY];
    /* The answer: a code of the server with its cause, or a result. */
    int32_t code;
    uint32_t cause;
    bool has_result; /* else `result` is that of the slot's last request */
    struct wire_result result;
    char text[REQUEST_TEXT];
};

/* The one question that is not about a slice: HELLO, ATTACH, STATS or DRAIN. */
struct control {
    bool taken, answered;
    bool late; /* nobody waits for the answer any more */
    uint64_t id;
    uint16_t kind;
    uint8_t message[CONTROL_MESSAGE];
    size_t message_bytes;
    int32_t code; /* of an ERROR */
    uint32_t cause;
    char text[REQUEST_TEXT];
    struct wire_stats stats;
    struct wire_attach attach;
};

enum server_state {
    SERVER_DOWN,
    SERVER_STARTING, /* only the thread that starts it uses the connection */
    SERVER_UP
};

/* Slots: shared with the server, or the library's own memory. */
struct ring {
    uint8_t *base;
    size_t bytes, slot_bytes;
    int descriptor; /* -1 once the server has it */
    bool shared;
};

struct scanside_session {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned waiting; /* threads at `changed` */
    bool pumping;     /* a thread is at the connection, without the lock */
    unsigned copying; /* threads that copy to or from a slot, without the lock */

    /* Options, of the handle's own. */
    pid_t owner;
    uint32_t flags, start_timeout_ms, slots_wanted;
    size_t slot_bytes;
    char *executable;
    char **arguments, **environment; /* of the process, NULL at the end */
    scanside_log_function log;
    void *log_context;

    enum server_state state;
    int32_t start_code; /* of the last start */
    char ended[512];    /* why the server is down */
    struct process child;
    int connection, log_pipe; /* -1 where there is none */
    int wake[2];              /* a pipe that gets the pumping thread out of poll */
    bool connection_ended;    /* nothing more will come */
    bool sending_ended;       /* the server takes no more */

    struct wire_reader reader;
    struct request *answering; /* whose answer the reader is in; NULL: another message */
    uint8_t *received;         /* RECEIVE_BYTES, of the pumping thread */
    struct wire_hello hello;
    char *description;       /* WIRE_MAX_JSON + 1 */
    char log_line[LOG_LINE]; /* of the pumping thread */
    size_t log_filled;
    char log_last[LOG_LINE]; /* the last whole line */

    struct ring ring;
    uint32_t slots;
    struct request *requests; /* one a slot */
    struct control control;
    uint64_t last_id;
    /* What is to be sent, in order: slots, or QUEUE_CONTROL. */
    uint32_t queue[MAX_SLOTS + 1];
    uint32_t queue_first, queue_count;
    size_t queue_sent; /* bytes of the first one */
};

/* A handle with copies of the options and no server. A code of scanside.h. */
int32_t scn_handle_make(const scanside_options *options, scanside_session **handle);
/* Free what a handle holds, the server left as it is; NULL is allowed. */
void scn_handle_free(scanside_session *handle);

/* Lock a handle that this process may use; else an error. */
int32_t scn_enter(scanside_session *handle);
/* Unlock it; returns `code`. */
int32_t scn_leave(scanside_session *handle, int32_t code);
/* The error for a handle without a server. */
int32_t scn_down(const scanside_session *handle);

#endif
