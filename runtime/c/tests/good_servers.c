/* A server that behaves: what a host gets from it. */
#define _GNU_SOURCE
#include <string.h>

#include "host.h"

static void answers(void)
{
    scanside_session *handle = open_with(4);
    scanside_info info;
    scanside_info_init(&info, sizeof info);
    CHECK(scanside_get_info(handle, &info) == SCANSIDE_OK);
    CHECK(info.protocol_major == 1 && info.slots == 4 && info.queue_depth == 4 && info.pid > 0);
    CHECK(info.min_side == 32 && info.max_side == 4096 && info.watchdog_ms == 2000);
    CHECK(info.gate > 0.24 && info.gate < 0.26 && info.bundle_sha256[31] == 31);
    CHECK(strcmp(info.bundle, "fake\xc3\xa9 1") == 0 && strcmp(info.backend, "fake") == 0);
    CHECK((info.flags & SCANSIDE_SERVER_NULL_BACKEND) != 0);
    CHECK(((info.flags & SCANSIDE_SERVER_SHARED_MEMORY) == 0) == in_pipe);
    char text[64];
    size_t size = 3;
    CHECK(scanside_get_description(handle, text, &size) == SCANSIDE_ERROR_BUFFER && size == 15);
    size = sizeof text;
    CHECK(scanside_get_description(handle, text, &size) == SCANSIDE_OK);
    CHECK(strcmp(text, "{\"fake\": true}") == 0);
    for (uint32_t n = 0; n < 100; n++)
        CHECK(infer(handle, n * 30 % PIXELS, SCANSIDE_FOREVER) == SCANSIDE_OK);
    scanside_statistics statistics;
    scanside_statistics_init(&statistics, sizeof statistics);
    CHECK(scanside_get_statistics(handle, &statistics, 5000) == SCANSIDE_OK);
    CHECK(statistics.uptime_us == 1 && statistics.rejected == 12);
    CHECK(scanside_close(handle, 5000) == SCANSIDE_OK);
}

static void leaves_nothing(void)
{
    int before = open_descriptors();
    for (int n = 0; n < 3; n++) {
        scanside_session *handle = open_with(2);
        CHECK(open_descriptors() > before);
        CHECK(infer(handle, 5, 5000) == SCANSIDE_OK);
        CHECK(scanside_close(handle, 5000) == SCANSIDE_OK);
        CHECK(open_descriptors() == before);
        CHECK(no_children());
    }
    CHECK(scanside_close(NULL, 0) == SCANSIDE_OK);
}

static void pipelined(void)
{
    scanside_session *handle = open_with(4);
    uint64_t tickets[4];
    for (uint32_t turn = 0; turn < 25; turn++) {
        for (uint32_t n = 0; n < 4; n++)
            CHECK(submit(handle, turn * 4 + n, &tickets[n], 5000) == SCANSIDE_OK);
        if (turn == 0)
            CHECK(submit(handle, 1, &tickets[0], 50) == SCANSIDE_ERROR_TIMEOUT);
        for (uint32_t n = 4; n-- > 0;)
            CHECK(wait_for(handle, tickets[n], turn * 4 + n, 5000) == SCANSIDE_OK);
        CHECK(wait_for(handle, tickets[0], 0, 0) == SCANSIDE_ERROR_ARGUMENT);
    }
    CHECK(scanside_close(handle, 5000) == SCANSIDE_OK);
}

/* Whichever is there first; in the order of the requests with SCANSIDE_ORDERED. */
static void any_answer(void)
{
    scanside_session *handle = open_with(4);
    uint8_t mask[PIXELS];
    uint64_t tickets[4];
    bool seen[4] = {false, false, false, false};
    scanside_result result;
    scanside_result_init(&result, sizeof result);
    CHECK(scanside_wait(handle, SCANSIDE_ANY, NULL, NULL, 0, 0) == SCANSIDE_ERROR_ARGUMENT);
    CHECK(scanside_wait(handle, SCANSIDE_ANY, &result, NULL, 0, 10) == SCANSIDE_ERROR_TIMEOUT);
    for (uint32_t n = 0; n < 4; n++)
        CHECK(submit(handle, 100 + n, &tickets[n], 5000) == SCANSIDE_OK);
    CHECK(scanside_wait(handle, tickets[3], &result, mask, 9, 5000) == SCANSIDE_ERROR_BUFFER);
    CHECK(result.ticket == tickets[3]);
    CHECK(scanside_forget(handle, tickets[1]) == SCANSIDE_OK);
    CHECK(scanside_forget(handle, tickets[1]) == SCANSIDE_ERROR_ARGUMENT);
    CHECK(wait_for(handle, tickets[1], 0, 0) == SCANSIDE_ERROR_ARGUMENT);
    for (uint32_t n = 0; n < 3; n++) {
        CHECK(scanside_wait(handle, SCANSIDE_ANY, &result, mask, sizeof mask, 5000) == SCANSIDE_OK);
        uint32_t which = result.area_px - 100;
        CHECK(which < 4 && which != 1 && !seen[which] && result.ticket == tickets[which]);
        check_answer(&result, mask, 100 + which);
        seen[which] = true;
    }
    for (uint32_t n = 0; n < 4; n++) /* every slot is free again */
        CHECK(submit(handle, n, &tickets[n], 5000) == SCANSIDE_OK);
    CHECK(scanside_close(handle, 5000) == SCANSIDE_OK); /* not waited for: dropped */
}

static void *infer_many(void *handle)
{
    for (uint32_t n = 0; n < A_THREAD; n++)
        CHECK(infer(handle, (n * 37 + (uint32_t)(uintptr_t)&n) % PIXELS, 30000) == SCANSIDE_OK);
    return NULL;
}

static void *submit_many(void *handle)
{
    for (uint32_t n = 0; n < A_THREAD; n++) {
        uint64_t ticket = 0;
        CHECK(submit(handle, n, &ticket, 30000) == SCANSIDE_OK);
        CHECK(wait_for(handle, ticket, n, 30000) == SCANSIDE_OK);
    }
    return NULL;
}

static void *ask_many(void *handle)
{
    scanside_statistics statistics;
    scanside_statistics_init(&statistics, sizeof statistics);
    for (uint32_t n = 0; n < A_THREAD; n++)
        CHECK(scanside_get_statistics(handle, &statistics, 30000) == SCANSIDE_OK);
    return NULL;
}

static void threads_share(void)
{
    void *(*const work[])(void *) = {infer_many, submit_many, infer_many, ask_many};
    scanside_session *handle = open_with(3); /* fewer slots than threads */
    run_threads(handle, work, 4);
    CHECK(scanside_close(handle, 5000) == SCANSIDE_OK);
}

static void formats(void)
{
    static uint8_t mask[PIXELS], planes[3][HEIGHT][WIDTH + 7];
    static uint16_t deep[HEIGHT][WIDTH + 3][3];
    static float real[PIXELS];
    scanside_session *handle = open_with(1);
    scanside_image image;
    scanside_result result;
    scanside_result_init(&result, sizeof result);

    memset(planes, 9, sizeof planes); /* three planes, rows with padding */
    for (uint32_t n = 0; n < 77; n++)
        planes[0][n / WIDTH][n % WIDTH] = 255;
    scanside_image_init(&image, sizeof image);
    image.height = HEIGHT;
    image.width = WIDTH;
    image.row_bytes = WIDTH + 7;
    for (int n = 0; n < 3; n++)
        image.planes[n] = planes[n];
    CHECK(scanside_infer(handle, &image, &result, mask, sizeof mask, 5000) == SCANSIDE_OK);
    check_answer(&result, mask, 77);
    CHECK(result.area_mm2 != result.area_mm2);

    for (uint32_t n = 0; n < 33; n++) /* 16 bits, interleaved, rows with padding */
        deep[n / WIDTH][n % WIDTH][0] = 255;
    scanside_image_init(&image, sizeof image);
    image.height = HEIGHT;
    image.width = WIDTH;
    image.dtype = SCANSIDE_U16;
    image.pixels = deep;
    image.row_bytes = sizeof deep[0];
    image.flags = SCANSIDE_WINDOW | SCANSIDE_SPACING;
    image.window_high = 900;
    image.spacing_row = image.spacing_column = 0.5;
    CHECK(scanside_infer(handle, &image, &result, mask, sizeof mask, 5000) == SCANSIDE_OK);
    check_answer(&result, mask, 33);
    CHECK(result.area_mm2 == 33 * 0.25 && (result.flags & SCANSIDE_HAS_AREA_MM2) != 0);
    CHECK(result.box_top == 0 && result.box_left == 0 && result.box_bottom == 1);
    CHECK(result.box_right == 33 && (result.flags & SCANSIDE_HAS_BOX) != 0);

    real[PIXELS - 1] = 255; /* one sequence of floats; no mask wanted */
    scanside_image_init(&image, sizeof image);
    image.height = HEIGHT;
    image.width = WIDTH;
    image.channels = 1;
    image.dtype = SCANSIDE_F32;
    image.planes[0] = real;
    image.flags = SCANSIDE_WINDOW | SCANSIDE_FILL_MISSING;
    image.window_high = 1;
    image.no_mask = 1;
    memset(mask, 1, sizeof mask);
    CHECK(scanside_infer(handle, &image, &result, mask, sizeof mask, 5000) == SCANSIDE_OK);
    CHECK(result.area_px == 1 && (result.flags & SCANSIDE_HAS_MASK) == 0);
    for (uint32_t n = 0; n < PIXELS; n++)
        CHECK(mask[n] == 0);
    CHECK(scanside_close(handle, 5000) == SCANSIDE_OK);
}

/* Frames that no socket's buffer holds, more of them than one side reads at a time. */
static void large_frames(void)
{
    enum { SIDE = 512, SLOTS = 4 };
    size_t bytes = (size_t)SIDE * SIDE * 3 * sizeof(uint16_t);
    uint16_t *pixels = calloc(1, bytes);
    uint8_t *mask = malloc((size_t)SIDE * SIDE);
    CHECK(pixels != NULL && mask != NULL);
    scanside_options options = options_of(SLOTS);
    options.slot_bytes = 2 * 1024 * 1024;
    scanside_session *handle = NULL;
    CHECK(scanside_open(&options, &handle) == SCANSIDE_OK);
    scanside_image image;
    scanside_image_init(&image, sizeof image);
    image.height = image.width = SIDE;
    image.dtype = SCANSIDE_U16;
    image.pixels = pixels;
    image.flags = SCANSIDE_WINDOW;
    image.window_high = 255;
    scanside_result result;
    scanside_result_init(&result, sizeof result);
    uint64_t tickets[SLOTS];
    for (uint32_t turn = 0; turn < 3; turn++) {
        for (uint32_t n = 0; n < SLOTS; n++) {
            pixels[3 * (turn * SLOTS + n)] = 255;
            CHECK(scanside_submit(handle, &image, &tickets[n], 10000) == SCANSIDE_OK);
        }
        for (uint32_t n = 0; n < SLOTS; n++) {
            CHECK(scanside_wait(handle, tickets[n], &result, mask, (size_t)SIDE * SIDE, 10000) ==
                  SCANSIDE_OK);
            CHECK(result.area_px == turn * SLOTS + n + 1);
        }
    }
    CHECK(scanside_close(handle, 5000) == SCANSIDE_OK);
    free(pixels);
    free(mask);
}

/* Calls that make no sense do nothing and say why. */
static void nonsense(void)
{
    uint8_t pixels[PIXELS * 3], mask[PIXELS];
    scanside_result result;
    scanside_result_init(&result, sizeof result);
    uint64_t ticket = 0;
    scanside_session *handle = NULL;
    scanside_options options = options_of(1);
    CHECK(scanside_open(NULL, &handle) == SCANSIDE_ERROR_ARGUMENT);
    CHECK(scanside_open(&options, NULL) == SCANSIDE_ERROR_ARGUMENT);
    options.executable = "scanside";
    CHECK(scanside_open(&options, &handle) == SCANSIDE_ERROR_ARGUMENT && handle == NULL);
    CHECK(strstr(scanside_last_error(), "absolute path") != NULL);
    options.executable = "/nowhere/scanside";
    CHECK(scanside_open(&options, &handle) == SCANSIDE_ERROR_START && handle == NULL);
    CHECK(strstr(scanside_last_error(), "/nowhere/scanside") != NULL);
    options = options_of(1);
    options.flags = 64;
    CHECK(scanside_open(&options, &handle) == SCANSIDE_ERROR_ARGUMENT);
    options = options_of(100000);
    CHECK(scanside_open(&options, &handle) == SCANSIDE_ERROR_ARGUMENT);
    options = options_of(1);
    options.slot_bytes = 0;
    CHECK(scanside_open(&options, &handle) == SCANSIDE_ERROR_ARGUMENT);
    options = options_of(1);
    options.struct_size = 8;
    CHECK(scanside_open(&options, &handle) == SCANSIDE_ERROR_ARGUMENT);

    struct { /* a caller's structure of a later version */
        scanside_options known;
        uint64_t unknown;
    } later;
    memset(&later, 0, sizeof later);
    scanside_options_init(&later.known, sizeof later);
    later.known.executable = executable;
    later.known.arguments = arguments;
    later.unknown = 1;
    CHECK(scanside_open(&later.known, &handle) == SCANSIDE_ERROR_ARGUMENT);
    CHECK(strstr(scanside_last_error(), "newer") != NULL);
    later.unknown = 0;
    CHECK(scanside_open(&later.known, &handle) == SCANSIDE_OK);

    scanside_image image = frame_of(pixels, 1);
    image.channels = 2;
    CHECK(scanside_submit(handle, &image, &ticket, 0) == SCANSIDE_ERROR_ARGUMENT);
    image = frame_of(pixels, 1);
    image.dtype = 9;
    CHECK(scanside_submit(handle, &image, &ticket, 0) == SCANSIDE_ERROR_ARGUMENT);
    image = frame_of(pixels, 1);
    image.planes[1] = pixels;
    CHECK(scanside_submit(handle, &image, &ticket, 0) == SCANSIDE_ERROR_ARGUMENT);
    image = frame_of(pixels, 1);
    image.pixels = NULL;
    CHECK(scanside_submit(handle, &image, &ticket, 0) == SCANSIDE_ERROR_ARGUMENT);
    image = frame_of(pixels, 1);
    image.row_bytes = 3;
    CHECK(scanside_submit(handle, &image, &ticket, 0) == SCANSIDE_ERROR_ARGUMENT);
    image = frame_of(pixels, 1);
    image.height = 60000;
    image.width = 60000;
    CHECK(scanside_submit(handle, &image, &ticket, 0) == SCANSIDE_ERROR_ARGUMENT);
    CHECK(strstr(scanside_last_error(), "slot_bytes") != NULL);
    image = frame_of(pixels, 1);
    image.flags = 8; /* SLOT is the library's own */
    CHECK(scanside_submit(handle, &image, &ticket, 0) == SCANSIDE_ERROR_ARGUMENT);
    image = frame_of(pixels, 1);
    CHECK(scanside_submit(handle, &image, NULL, 0) == SCANSIDE_ERROR_ARGUMENT);
    CHECK(scanside_submit(NULL, &image, &ticket, 0) == SCANSIDE_ERROR_ARGUMENT);
    CHECK(scanside_infer(handle, &image, &result, mask, 7, 0) == SCANSIDE_ERROR_BUFFER);
    CHECK(scanside_infer(handle, &image, NULL, mask, sizeof mask, 0) == SCANSIDE_ERROR_ARGUMENT);
    result.struct_size = 4;
    CHECK(scanside_infer(handle, &image, &result, mask, sizeof mask, 0) == SCANSIDE_ERROR_ARGUMENT);
    CHECK(scanside_wait(handle, 77, NULL, NULL, 0, 0) == SCANSIDE_ERROR_ARGUMENT);
    CHECK(infer(handle, 3, 5000) == SCANSIDE_OK);   /* and nothing is broken */
    CHECK(scanside_restart(handle) == SCANSIDE_OK); /* it is up: nothing is done */
    CHECK(infer(handle, 4, 5000) == SCANSIDE_OK);
    CHECK(scanside_close(handle, 5000) == SCANSIDE_OK);
    CHECK(strcmp(scanside_strerror(SCANSIDE_ERROR_LOST), "SCANSIDE_ERROR_LOST") == 0);
    CHECK(scanside_strerror(4711) != NULL);
    CHECK(scanside_version() == 100);
}

const struct scenario good_servers[] = {
    {"answers", answers},
    {"leaves_nothing", leaves_nothing},
    {"pipelined", pipelined},
    {"any_answer", any_answer},
    {"threads_share", threads_share},
    {"formats", formats},
    {"large_frames", large_frames},
    {"nonsense", nonsense},
    {NULL, NULL},
};
