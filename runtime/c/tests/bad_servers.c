/* A server that does not: each behaviour is one of tests/support/fake_server.py. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "host.h"

/* The first argument after the behaviour is the code that opening must give. */
static void does_not_start(void)
{
    int before = open_descriptors();
    scanside_options options = options_of(2);
    options.start_timeout_ms = 1500;
    scanside_session *handle = NULL;
    int32_t code = scanside_open(&options, &handle);
    printf("%s: %s\n", scanside_strerror(code), scanside_last_error());
    CHECK(code != SCANSIDE_OK && handle == NULL);
    CHECK(open_descriptors() == before);
    CHECK(no_children());
}

/* The one request is lost, since the server broke the protocol; it is killed and stays down. */
static void breaks_protocol(void)
{
    scanside_session *handle = open_with(2);
    scanside_info info;
    scanside_info_init(&info, sizeof info);
    CHECK(scanside_get_info(handle, &info) == SCANSIDE_OK);
    int32_t code = infer(handle, 5, 10000);
    printf("%s\n", scanside_last_error());
    if (code == SCANSIDE_ERROR_INTERNAL) { /* seen only in the mask: the answer is no answer */
        CHECK(scanside_close(handle, 5000) == SCANSIDE_OK);
        return;
    }
    CHECK(code == SCANSIDE_ERROR_LOST);
    CHECK(kill((pid_t)info.pid, 0) < 0 && errno == ESRCH);
    CHECK(infer(handle, 5, 0) == SCANSIDE_ERROR_DOWN);
    CHECK(scanside_close(handle, 5000) == SCANSIDE_ERROR_DOWN);
}

/* With `dies`: two answers and a lost one, each exactly once. */
static void dies_midway(void)
{
    scanside_session *handle = open_with(4);
    uint64_t tickets[3], another = 0;
    for (uint32_t n = 0; n < 3; n++)
        CHECK(submit(handle, n, &tickets[n], 5000) == SCANSIDE_OK);
    CHECK(wait_for(handle, tickets[2], 2, 10000) == SCANSIDE_ERROR_LOST);
    CHECK(strstr(scanside_last_error(), "signal 9") != NULL);
    CHECK(wait_for(handle, tickets[2], 2, 0) == SCANSIDE_ERROR_ARGUMENT);
    CHECK(wait_for(handle, tickets[0], 0, 0) == SCANSIDE_OK); /* it was answered before */
    CHECK(submit(handle, 1, &another, 100) == SCANSIDE_ERROR_DOWN);
    CHECK(scanside_restart(handle) == SCANSIDE_OK);
    CHECK(wait_for(handle, tickets[1], 1, 0) == SCANSIDE_ERROR_LOST); /* not taken in time */
    for (uint32_t n = 0; n < 3; n++)
        CHECK(submit(handle, n, &tickets[n], 5000) == SCANSIDE_OK && tickets[n] > another);
    CHECK(wait_for(handle, tickets[0], 0, 10000) == SCANSIDE_OK);
    CHECK(scanside_close(handle, 5000) == SCANSIDE_ERROR_DOWN);
}

static uint32_t lost_count, answered_count;

/* A worker as docs/embedding.md has it: whatever happens, each slice is done in the end. */
static void *work_on(void *handle)
{
    for (uint32_t n = 0; n < A_THREAD;) {
        int32_t code = infer(handle, n, 30000);
        if (code == SCANSIDE_OK) {
            n++;
            __sync_fetch_and_add(&answered_count, 1);
        } else {
            CHECK(code == SCANSIDE_ERROR_LOST || code == SCANSIDE_ERROR_DOWN);
            __sync_fetch_and_add(&lost_count, 1);
            CHECK(scanside_restart(handle) == SCANSIDE_OK);
        }
    }
    return NULL;
}

/* Kills the server five times, while there is still work to do. */
static void *kill_often(void *handle)
{
    scanside_info info;
    scanside_info_init(&info, sizeof info);
    for (uint32_t n = 1; n <= 5; n++) {
        while (__atomic_load_n(&answered_count, __ATOMIC_SEQ_CST) < n * A_THREAD)
            sleep_ms(1);
        if (n % 2 == 1)
            scanside_kill(handle);
        else if (scanside_get_info(handle, &info) == SCANSIDE_OK && info.pid > 0)
            kill((pid_t)info.pid, SIGKILL);
    }
    return NULL;
}

/* Many threads meet the death of the server; one restarts it, the others join in. */
static void threads_restart(void)
{
    void *(*const work[])(void *) = {work_on, work_on, work_on, work_on,
                                     work_on, work_on, work_on, kill_often};
    scanside_session *handle = open_with(3);
    run_threads(handle, work, 8);
    CHECK(answered_count == 7 * A_THREAD);
    CHECK(lost_count > 0);
    scanside_restart(handle);
    CHECK(scanside_close(handle, 5000) == SCANSIDE_OK);
}

/* With `hangs` or `hangs_unread`: every call comes back when it said it would. */
static void time_outs(void)
{
    scanside_session *handle = open_with(2);
    uint64_t tickets[2];
    int64_t began = now_ms();
    CHECK(submit(handle, 1, &tickets[0], 1000) == SCANSIDE_OK);
    CHECK(wait_for(handle, tickets[0], 1, 0) == SCANSIDE_ERROR_TIMEOUT);
    CHECK(now_ms() - began < 900);
    CHECK(infer(handle, 1, 150) == SCANSIDE_ERROR_TIMEOUT); /* its slot is not free again */
    CHECK(now_ms() - began >= 150);
    began = now_ms();
    CHECK(submit(handle, 1, &tickets[1], 150) == SCANSIDE_ERROR_TIMEOUT);
    CHECK(wait_for(handle, tickets[0], 1, 150) == SCANSIDE_ERROR_TIMEOUT);
    scanside_statistics statistics;
    scanside_statistics_init(&statistics, sizeof statistics);
    CHECK(scanside_get_statistics(handle, &statistics, 100) == SCANSIDE_ERROR_TIMEOUT);
    CHECK(scanside_get_statistics(handle, &statistics, 100) == SCANSIDE_ERROR_TIMEOUT);
    CHECK(now_ms() - began >= 500 && now_ms() - began < 3000);
    began = now_ms();
    CHECK(scanside_close(handle, 200) == SCANSIDE_ERROR_TIMEOUT);
    CHECK(now_ms() - began >= 200 && now_ms() - began < 3000);
    CHECK(no_children());
}

static void *wait_forever(void *handle)
{
    CHECK(infer(handle, 1, SCANSIDE_FOREVER) == SCANSIDE_ERROR_LOST);
    return NULL;
}

/* A console that ends gets its threads back. */
static void killed_by_the_host(void)
{
    scanside_session *handle = open_with(4);
    pthread_t threads[3];
    for (int n = 0; n < 3; n++)
        CHECK(pthread_create(&threads[n], NULL, wait_forever, handle) == 0);
    sleep_ms(200);
    CHECK(scanside_kill(handle) == SCANSIDE_OK);
    for (int n = 0; n < 3; n++)
        CHECK(pthread_join(threads[n], NULL) == 0);
    CHECK(scanside_kill(handle) == SCANSIDE_ERROR_DOWN);
    CHECK(scanside_close(handle, 5000) == SCANSIDE_ERROR_DOWN);
}

/* With `hangs_unread` in pipe mode: a frame that the server does not take is not accepted. */
static void not_taken(void)
{
    enum { SIDE = 1024 };
    uint8_t *pixels = calloc(3, (size_t)SIDE * SIDE);
    CHECK(pixels != NULL);
    scanside_options options = options_of(4);
    options.slot_bytes = 8 * 1024 * 1024;
    scanside_session *handle = NULL;
    CHECK(scanside_open(&options, &handle) == SCANSIDE_OK);
    scanside_image image;
    scanside_image_init(&image, sizeof image);
    image.height = image.width = SIDE;
    image.pixels = pixels;
    uint64_t ticket = 0;
    for (int n = 0; n < 4; n++)
        CHECK(scanside_submit(handle, &image, &ticket, 100) == SCANSIDE_ERROR_TIMEOUT);
    CHECK(ticket == 0);
    CHECK(scanside_close(handle, 100) == SCANSIDE_ERROR_TIMEOUT);
    free(pixels);
}

/* With `slow`: what was given up is answered into the void, and the next answer is the next one. */
static void late_answers(void)
{
    scanside_session *handle = open_with(1);
    CHECK(infer(handle, 11, 60) == SCANSIDE_ERROR_TIMEOUT);
    CHECK(infer(handle, 22, 10000) == SCANSIDE_OK);
    scanside_statistics statistics;
    scanside_statistics_init(&statistics, sizeof statistics);
    uint64_t ticket = 0;
    CHECK(submit(handle, 33, &ticket, 1000) == SCANSIDE_OK);
    CHECK(scanside_get_statistics(handle, &statistics, 10) == SCANSIDE_ERROR_TIMEOUT);
    CHECK(scanside_get_statistics(handle, &statistics, 5000) == SCANSIDE_OK);
    CHECK(wait_for(handle, ticket, 33, 5000) == SCANSIDE_OK);
    CHECK(scanside_close(handle, 5000) == SCANSIDE_OK);
}

/* With `errors`: an ERROR, a rejected image, an indeterminate one, one without a mask. */
static void bad_news(void)
{
    scanside_session *handle = open_with(4);
    uint64_t tickets[4];
    uint8_t mask[PIXELS];
    scanside_result result;
    scanside_result_init(&result, sizeof result);
    for (uint32_t n = 0; n < 4; n++)
        CHECK(submit(handle, n, &tickets[n], 5000) == SCANSIDE_OK);
    memset(mask, 1, sizeof mask);
    CHECK(scanside_wait(handle, tickets[0], &result, mask, sizeof mask, 5000) ==
          SCANSIDE_ERROR_BACKEND);
    CHECK(result.status == SCANSIDE_STATUS_NONE && result.cause == SCANSIDE_CAUSE_HUNG);
    CHECK(result.tumor == SCANSIDE_TUMOR_UNKNOWN);
    CHECK(strcmp(result.reason, "the backend did not come back") == 0);
    CHECK(strcmp(scanside_last_error(), result.reason) == 0 && mask[0] == 0);
    CHECK(scanside_wait(handle, tickets[1], &result, NULL, 0, 5000) == SCANSIDE_ERROR_INPUT);
    CHECK(result.status == SCANSIDE_STATUS_REJECTED && result.tumor == SCANSIDE_TUMOR_UNKNOWN);
    CHECK(strcmp(result.reason, "no window: Fenster fehlt \xc3\xa9") == 0);
    memset(mask, 1, sizeof mask);
    CHECK(scanside_wait(handle, tickets[2], &result, mask, sizeof mask, 5000) == SCANSIDE_OK);
    CHECK(result.status == SCANSIDE_STATUS_INDETERMINATE);
    CHECK(result.tumor == SCANSIDE_TUMOR_UNKNOWN && (result.flags & SCANSIDE_HAS_MASK) == 0);
    CHECK(mask[0] == 0 && mask[PIXELS - 1] == 0);
    CHECK(strcmp(result.reason, "the models disagree") == 0);
    CHECK(scanside_wait(handle, tickets[3], &result, mask, sizeof mask, 5000) == SCANSIDE_OK);
    CHECK(result.tumor == SCANSIDE_TUMOR_FALSE && result.segmented == 0);
    CHECK((result.flags & (SCANSIDE_HAS_MASK | SCANSIDE_HAS_AREA)) == 0 && result.reason[0] == 0);
    CHECK(infer(handle, 5, 5000) == SCANSIDE_OK);
    CHECK(scanside_close(handle, 5000) == SCANSIDE_OK);
}

/* With `then_an_error`: the error brings nothing of the result that was in its slot before. */
static void nothing_stale(void)
{
    scanside_session *handle = open_with(1);
    uint8_t pixels[PIXELS * 3], mask[PIXELS];
    scanside_result result;
    scanside_result_init(&result, sizeof result);
    CHECK(infer(handle, 700, 5000) == SCANSIDE_OK);
    scanside_image image = frame_of(pixels, 5);
    memset(mask, 1, sizeof mask);
    CHECK(scanside_infer(handle, &image, &result, mask, sizeof mask, 5000) == SCANSIDE_ERROR_INPUT);
    CHECK(result.status == SCANSIDE_STATUS_NONE && result.tumor == SCANSIDE_TUMOR_UNKNOWN);
    CHECK(result.flags == 0 && result.area_px == 0 && mask[0] == 0 && mask[PIXELS - 1] == 0);
    CHECK(result.tumor_probability != result.tumor_probability);
    CHECK(scanside_close(handle, 5000) == SCANSIDE_OK);
}

/* With `early`: the refusal is there before the frame has left. */
static void refused_early(void)
{
    scanside_session *handle = open_with(3);
    for (int n = 0; n < 6; n++) {
        CHECK(infer(handle, 1, 5000) == SCANSIDE_ERROR_USAGE);
        CHECK(strcmp(scanside_last_error(), "the window is not increasing") == 0);
    }
    CHECK(scanside_close(handle, 5000) == SCANSIDE_OK);
}

/* With `going`: what was accepted is answered, the rest is refused, and then it is down. */
static void server_ends(void)
{
    scanside_session *handle = open_with(2);
    CHECK(infer(handle, 6, 5000) == SCANSIDE_OK);
    CHECK(infer(handle, 7, 5000) == SCANSIDE_ERROR_BACKEND);
    int32_t code = infer(handle, 8, 5000);
    CHECK(code == SCANSIDE_ERROR_DOWN || code == SCANSIDE_ERROR_LOST);
    CHECK(scanside_close(handle, 5000) == SCANSIDE_ERROR_DOWN);
}

struct lines {
    int count, longest;
    char last[64];
};

static void take_line(void *context, const char *line)
{
    struct lines *lines = context;
    int length = (int)strlen(line);
    lines->count++;
    if (length > lines->longest)
        lines->longest = length;
    snprintf(lines->last, sizeof lines->last, "%.60s", line);
}

/* With `noisy`: more than a pipe holds, and nobody waits for anybody. */
static void log_lines(void)
{
    struct lines lines = {0, 0, ""};
    scanside_options options = options_of(2);
    options.log = take_line;
    options.log_context = &lines;
    scanside_session *handle = NULL;
    CHECK(scanside_open(&options, &handle) == SCANSIDE_OK);
    CHECK(infer(handle, 1, 20000) == SCANSIDE_OK);
    CHECK(scanside_close(handle, 5000) == SCANSIDE_OK);
    CHECK(lines.longest == 1023 && lines.count == 40003 && strcmp(lines.last, "line") == 0);
}

/* With `dies`: the last words come before LOST does, and are in its reason. */
static void last_words(void)
{
    struct lines lines = {0, 0, ""};
    scanside_options options = options_of(4);
    options.log = take_line;
    options.log_context = &lines;
    scanside_session *handle = NULL;
    CHECK(scanside_open(&options, &handle) == SCANSIDE_OK);
    uint64_t ticket = 0;
    for (uint32_t n = 0; n < 3; n++)
        CHECK(submit(handle, n, &ticket, 5000) == SCANSIDE_OK);
    CHECK(wait_for(handle, ticket, 2, 10000) == SCANSIDE_ERROR_LOST);
    CHECK(strcmp(lines.last, "last words") == 0);
    CHECK(strstr(scanside_last_error(), "its log ends: last words") != NULL);
    scanside_close(handle, 0);
}

const struct scenario bad_servers[] = {
    {"does_not_start", does_not_start},
    {"breaks_protocol", breaks_protocol},
    {"dies_midway", dies_midway},
    {"threads_restart", threads_restart},
    {"time_outs", time_outs},
    {"killed_by_the_host", killed_by_the_host},
    {"not_taken", not_taken},
    {"late_answers", late_answers},
    {"bad_news", bad_news},
    {"nothing_stale", nothing_stale},
    {"refused_early", refused_early},
    {"server_ends", server_ends},
    {"log_lines", log_lines},
    {"last_words", last_words},
    {NULL, NULL},
};
