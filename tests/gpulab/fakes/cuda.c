/* A CUDA driver without a GPU: as much of libcuda.so.1 as PyCUDA and CUDA graphs need.
 *
 * Written from the documentation of the driver's interface; no header of NVIDIA's is used.
 * "Device" memory is the host's, checked for range. Streams are lazy, which is the hardest thing a
 * device may do to its user: nothing is copied or computed before somebody waits for it, and then
 * only what has to come before. A result that is read too early is therefore an old one, always.
 *
 * Every call needs a context that is current in its thread. Calls are counted, by thread too, and
 * any of them can be made to fail: see the functions at the end, which a test calls by ctypes.
 *
 *   FAKE_CUDA_DEVICES=0      there is no device: cuInit fails
 *   FAKE_CUDA_INTEGRATED=1   the device shares the host's memory, as on a Jetson
 *   FAKE_CUDA_MIB=7607       its memory
 *   FAKE_CUDA_CAPABILITY=87  its compute capability
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100,
    INVALID_DEVICE = 101, INVALID_CONTEXT = 201, INVALID_HANDLE = 400, NOT_READY = 600,
    ILLEGAL_ADDRESS = 700, NOT_SUPPORTED = 801, CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901
};
enum { COMPUTE_MAJOR = 75, COMPUTE_MINOR = 76, INTEGRATED = 18, CAN_MAP_HOST_MEMORY = 19,
       UNIFIED_ADDRESSING = 41 };

typedef unsigned long long Address;
typedef void (*Work)(uintptr_t);

/* ------------------------------------------------------------------ calls: counted, made to fail */

#define NAMES 96
#define THREADS 8

typedef struct {
    const char *name;
    long count;
    pthread_t threads[THREADS];
    int thread_count;
    long fail_at, fail_times;
    int fail_code;
} Call;

static Call calls[NAMES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int initialised, sticky_error;
static long bytes_up, bytes_down, live_device, live_host, live_objects, allocations;
static char log_text[1 << 16];
static size_t log_length;

static Call *call_named(const char *name) {
    int n = 0;
    while (n < NAMES - 1 && calls[n].name && strcmp(calls[n].name, name)) n++;
    if (!calls[n].name) calls[n].name = strdup(name);
    return &calls[n];
}

/* Take note of a call, and say whether it has to fail. */
static int enter(const char *name) {
    pthread_mutex_lock(&lock);
    Call *call = call_named(name);
    call->count++;
    int known = 0;
    for (int n = 0; n < call->thread_count; n++)
        known |= pthread_equal(call->threads[n], pthread_self());
    if (!known && call->thread_count < THREADS) call->threads[call->thread_count++] = pthread_self();
    if (log_length + strlen(name) + 2 < sizeof log_text)
        log_length += sprintf(log_text + log_length, "%s\n", name);
    int code = sticky_error;
    long nth = call->fail_at ? call->count - call->fail_at : -1;
    if (nth == 0 && !call->fail_times) sticky_error = call->fail_code;
    if (nth == 0 || (nth > 0 && nth < call->fail_times)) code = call->fail_code;
    pthread_mutex_unlock(&lock);
    return code;
}

/* ------------------------------------------------------------------------------------- contexts */

typedef struct { int references; } Context;

static Context primary;
static _Thread_local Context *stack[64];
static _Thread_local int depth;

#define ENTER() do { int code = enter(__func__); if (code) return code; \
                     if (!initialised) return NOT_INITIALIZED; } while (0)
#define ENTER_CONTEXT() do { ENTER(); if (!depth) return INVALID_CONTEXT; } while (0)

static long setting(const char *name, long otherwise) {
    const char *value = getenv(name);
    return value ? atol(value) : otherwise;
}
static long total_memory(void) { return setting("FAKE_CUDA_MIB", 7607) << 20; }
static long capability(void) { return setting("FAKE_CUDA_CAPABILITY", 87); }

int cuInit(unsigned flags) {
    int code = enter(__func__);
    if (code) return code;
    if (setting("FAKE_CUDA_DEVICES", 1) < 1) return NO_DEVICE;
    initialised = 1;
    return SUCCESS;
}
int cuDriverGetVersion(int *version) { *version = 13000; return SUCCESS; }
int cuGetErrorString(int code, const char **text) {
    *text = code == NO_DEVICE ? "no CUDA-capable device is detected"
          : code == INVALID_CONTEXT ? "invalid device context"
          : code == INVALID_VALUE ? "invalid argument"
          : code == OUT_OF_MEMORY ? "out of memory"
          : code == ILLEGAL_ADDRESS ? "an illegal memory access was encountered"
          : code == CAPTURE_UNSUPPORTED ? "operation not permitted when stream is capturing"
          : code == NOT_SUPPORTED ? "operation not supported" : "an error of the fake driver";
    return SUCCESS;
}
int cuDeviceGetCount(int *count) { ENTER(); *count = setting("FAKE_CUDA_DEVICES", 1); return SUCCESS; }
int cuDeviceGet(int *device, int number) {
    ENTER();
    *device = number;
    return number < setting("FAKE_CUDA_DEVICES", 1) ? SUCCESS : INVALID_DEVICE;
}
int cuDeviceGetName(char *name, int size, int device) {
    ENTER();
    snprintf(name, size, "Fake GPU");
    return SUCCESS;
}
int cuDeviceTotalMem_v2(size_t *size, int device) { ENTER(); *size = total_memory(); return SUCCESS; }
int cuDeviceComputeCapability(int *major, int *minor, int device) {
    ENTER();
    *major = capability() / 10, *minor = capability() % 10;
    return SUCCESS;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    ENTER();
    *value = attribute == COMPUTE_MAJOR ? capability() / 10
           : attribute == COMPUTE_MINOR ? capability() % 10
           : attribute == INTEGRATED ? setting("FAKE_CUDA_INTEGRATED", 0)
           : attribute == CAN_MAP_HOST_MEMORY || attribute == UNIFIED_ADDRESSING;
    return SUCCESS;
}
int cuDevicePrimaryCtxRetain(Context **context, int device) {
    ENTER();
    primary.references++;
    *context = &primary;
    return SUCCESS;
}
int cuDevicePrimaryCtxRelease_v2(int device) { ENTER(); primary.references--; return SUCCESS; }
int cuCtxPushCurrent_v2(Context *context) { ENTER(); stack[depth++] = context; return SUCCESS; }
int cuCtxPopCurrent_v2(Context **context) {
    ENTER_CONTEXT();
    depth--;
    if (context) *context = stack[depth];
    return SUCCESS;
}
int cuCtxGetDevice(int *device) { ENTER_CONTEXT(); *device = 0; return SUCCESS; }
int cuCtxGetApiVersion(Context *context, unsigned *version) { ENTER(); *version = 13000; return SUCCESS; }

/* --------------------------------------------------------------------------------------- memory */

typedef struct Block { uintptr_t start; size_t size; int host; struct Block *next; } Block;
static Block *blocks;

static int add_block(void **start, size_t size, int host) {
    if (!size) return INVALID_VALUE;
    pthread_mutex_lock(&lock);
    int full = !host && live_device + (long)size > total_memory();
    pthread_mutex_unlock(&lock);
    if (full || posix_memalign(start, 4096, size)) return OUT_OF_MEMORY;
    memset(*start, 0xCD, size);
    Block *block = malloc(sizeof *block);
    pthread_mutex_lock(&lock);
    *block = (Block){(uintptr_t)*start, size, host, blocks};
    blocks = block;
    *(host ? &live_host : &live_device) += size;
    allocations++;
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}
static int remove_block(uintptr_t start, int host) {
    pthread_mutex_lock(&lock);
    Block **place = &blocks;
    while (*place && ((*place)->start != start || (*place)->host != host)) place = &(*place)->next;
    Block *found = *place;
    if (found) {
        *place = found->next;
        *(host ? &live_host : &live_device) -= found->size;
        free((void *)start);
        free(found);
    }
    pthread_mutex_unlock(&lock);
    return found ? SUCCESS : INVALID_VALUE;
}
static int holds(uintptr_t start, size_t size) {
    pthread_mutex_lock(&lock);
    Block *block = blocks;
    while (block && !(start >= block->start && start + size <= block->start + block->size))
        block = block->next;
    pthread_mutex_unlock(&lock);
    return block != NULL;
}
int cuMemAlloc_v2(Address *address, size_t size) {
    ENTER_CONTEXT();
    void *start = NULL;
    int code = add_block(&start, size, 0);
    *address = (uintptr_t)start;
    return code;
}
int cuMemFree_v2(Address address) { ENTER_CONTEXT(); return remove_block(address, 0); }
int cuMemHostAlloc(void **start, size_t size, unsigned flags) {
    ENTER_CONTEXT();
    return add_block(start, size, 1);
}
int cuMemFreeHost(void *start) { ENTER_CONTEXT(); return remove_block((uintptr_t)start, 1); }
int cuMemHostGetDevicePointer_v2(Address *address, void *start, unsigned flags) {
    ENTER_CONTEXT();
    *address = (uintptr_t)start;
    return holds(*address, 1) ? SUCCESS : INVALID_VALUE;
}
int cuMemGetInfo_v2(size_t *unused, size_t *total) {
    ENTER_CONTEXT();
    *total = total_memory();
    *unused = *total - live_device;
    return SUCCESS;
}

/* --------------------------------------------------------------------- streams, events and graphs */

typedef struct { void *to; const void *from; size_t size; long *counter; Work work; uintptr_t word; } Step;
typedef struct { Step *steps; long count, done, room; } Steps;
typedef struct Stream { Steps queue; Steps *captured; int running, broken; struct Stream *next; } Stream;
typedef struct { Stream *stream; long until; } Event;

static void append(Steps *steps, Step step) {
    if (steps->count == steps->room) {
        steps->room = steps->room ? 2 * steps->room : 16;
        steps->steps = realloc(steps->steps, steps->room * sizeof step);
    }
    steps->steps[steps->count++] = step;
}
static int give(Stream *stream, Step step) {
    if (!stream) return INVALID_HANDLE; /* the default stream */
    pthread_mutex_lock(&lock);
    append(stream->captured ? stream->captured : &stream->queue, step);
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}
/* Do what the stream was given, up to a step. One thread at a time, without holding the lock: a
 * step may be Python's. */
static void run(Stream *stream, long until) {
    pthread_mutex_lock(&lock);
    while (stream->running) pthread_cond_wait(&changed, &lock);
    stream->running = 1;
    while (stream->queue.done < until && stream->queue.done < stream->queue.count) {
        Step step = stream->queue.steps[stream->queue.done++];
        pthread_mutex_unlock(&lock);
        if (step.work) step.work(step.word);
        else memcpy(step.to, step.from, step.size);
        pthread_mutex_lock(&lock);
        if (step.counter) *step.counter += step.size;
    }
    stream->running = 0;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}
static Stream *streams;

int cuStreamCreate(Stream **stream, unsigned flags) {
    ENTER_CONTEXT();
    if (flags != 1) return INVALID_VALUE; /* it would wait for the default stream */
    *stream = calloc(1, sizeof **stream);
    pthread_mutex_lock(&lock);
    live_objects++;
    (*stream)->next = streams;
    streams = *stream;
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}
int cuStreamDestroy_v2(Stream *stream) {
    ENTER_CONTEXT();
    run(stream, stream->queue.count);
    pthread_mutex_lock(&lock);
    live_objects--;
    Stream **place = &streams;
    while (*place != stream) place = &(*place)->next;
    *place = stream->next;
    pthread_mutex_unlock(&lock);
    free(stream->queue.steps);
    free(stream);
    return SUCCESS;
}
int cuStreamSynchronize(Stream *stream) {
    ENTER_CONTEXT();
    if (stream->captured) { stream->broken = 1; return CAPTURE_UNSUPPORTED; }
    run(stream, stream->queue.count);
    return SUCCESS;
}
int cuCtxSynchronize(void) {
    ENTER_CONTEXT();
    for (Stream *stream = streams; stream; stream = stream->next)
        if (!stream->captured) run(stream, stream->queue.count);
    return SUCCESS;
}
int cuEventCreate(Event **event, unsigned flags) {
    ENTER_CONTEXT();
    *event = calloc(1, sizeof **event);
    live_objects++;
    return SUCCESS;
}
int cuEventDestroy_v2(Event *event) { ENTER_CONTEXT(); live_objects--; free(event); return SUCCESS; }
int cuEventRecord(Event *event, Stream *stream) {
    ENTER_CONTEXT();
    if (!stream || stream->captured) return INVALID_HANDLE;
    event->stream = stream;
    event->until = stream->queue.count;
    return SUCCESS;
}
int cuEventSynchronize(Event *event) {
    ENTER_CONTEXT();
    if (event->stream) run(event->stream, event->until);
    return sticky_error;
}
int cuEventQuery(Event *event) {
    ENTER_CONTEXT();
    return !event->stream || event->stream->queue.done >= event->until ? SUCCESS : NOT_READY;
}
int cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t size, Stream *stream) {
    ENTER_CONTEXT();
    if (!holds(to, size) || !holds((uintptr_t)from, size)) return INVALID_VALUE;
    return give(stream, (Step){(void *)(uintptr_t)to, from, size, &bytes_up, NULL, 0});
}
int cuMemcpyHtoD_v2(Address to, const void *from, size_t size) {
    ENTER_CONTEXT();
    if (!holds(to, size)) return INVALID_VALUE;
    memcpy((void *)(uintptr_t)to, from, size);
    bytes_up += size;
    return SUCCESS;
}
int cuMemcpyDtoHAsync_v2(void *to, Address from, size_t size, Stream *stream) {
    ENTER_CONTEXT();
    if (!holds(from, size) || !holds((uintptr_t)to, size)) return INVALID_VALUE;
    return give(stream, (Step){to, (const void *)(uintptr_t)from, size, &bytes_down, NULL, 0});
}

int cuStreamBeginCapture_v2(Stream *stream, int mode) {
    ENTER_CONTEXT();
    if (mode != 1) return INVALID_VALUE; /* other threads' calls would break it */
    stream->captured = calloc(1, sizeof(Steps));
    stream->broken = 0;
    return SUCCESS;
}
int cuStreamEndCapture(Stream *stream, Steps **graph) {
    Steps *captured = stream->captured;
    stream->captured = NULL;
    *graph = NULL;
    ENTER_CONTEXT();
    if (stream->broken) return CAPTURE_INVALIDATED;
    *graph = captured;
    live_objects++;
    return SUCCESS;
}
int cuGraphInstantiateWithFlags(Steps **ready, Steps *graph, unsigned long long flags) {
    ENTER_CONTEXT();
    *ready = calloc(1, sizeof(Steps));
    for (long n = 0; n < graph->count; n++) append(*ready, graph->steps[n]);
    live_objects++;
    return SUCCESS;
}
int cuGraphLaunch(Steps *graph, Stream *stream) {
    ENTER_CONTEXT();
    for (long n = 0; n < graph->count; n++) {
        int code = give(stream, graph->steps[n]);
        if (code) return code;
    }
    return SUCCESS;
}
static int free_steps(Steps *steps) { free(steps->steps); free(steps); live_objects--; return SUCCESS; }
int cuGraphDestroy(Steps *graph) { ENTER_CONTEXT(); return free_steps(graph); }
int cuGraphExecDestroy(Steps *graph) { ENTER_CONTEXT(); return free_steps(graph); }

/* ------------------------------------------------------------------------- for the fake TensorRT */

/* A kernel: `work(word)` is called when the stream comes to it. */
int fake_cuda_launch(Stream *stream, Work work, uintptr_t word) {
    int code = enter("launch");
    return code ? code : give(stream, (Step){NULL, NULL, 0, NULL, work, word});
}
int fake_cuda_holds(uintptr_t start, size_t size) { return holds(start, size); }

/* ---------------------------------------------------------------------------------- for the tests */

long fake_cuda_count(const char *name) { return call_named(name)->count; }
long fake_cuda_threads(const char *name) { return call_named(name)->thread_count; }
const char *fake_cuda_name(int number) { return number < NAMES ? calls[number].name : NULL; }
/* The n-th call from now fails, and so many in all; 0: and all calls of any kind after it. */
void fake_cuda_fail(const char *name, long nth, long times, int code) {
    Call *call = call_named(name);
    call->fail_at = call->count + nth;
    call->fail_times = times;
    call->fail_code = code;
}
/* No more failures, and no thread has called anything yet. */
void fake_cuda_heal(void) {
    sticky_error = 0;
    for (int n = 0; n < NAMES; n++) calls[n].fail_at = calls[n].thread_count = 0;
}
/* Bytes to and from the device, bytes held there and in pinned memory, streams + events + graphs,
 * references to the primary context, allocations ever. */
void fake_cuda_totals(long *totals) {
    long held[] = {bytes_up, bytes_down, live_device, live_host, live_objects,
                   primary.references, allocations};
    memcpy(totals, held, sizeof held);
}
const char *fake_cuda_log(void) { return log_text; }
void fake_cuda_clear_log(void) { log_length = 0; log_text[0] = 0; }
