#define _GNU_SOURCE
#include "host.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

bool in_pipe;
const char *executable;
const char *arguments[16];

int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void sleep_ms(long milliseconds)
{
    struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

int open_descriptors(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    CHECK(folder != NULL);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

scanside_options options_of(uint32_t slots)
{
    scanside_options options;
    scanside_options_init(&options, sizeof options);
    options.executable = executable;
    options.arguments = arguments;
    options.slots = slots;
    options.flags = in_pipe ? SCANSIDE_NO_SHARED_MEMORY : 0;
    options.slot_bytes = 64 * 1024;
    return options;
}

scanside_session *open_with(uint32_t slots)
{
    scanside_options options = options_of(slots);
    scanside_session *handle = NULL;
    CHECK(scanside_open(&options, &handle) == SCANSIDE_OK);
    return handle;
}

scanside_image frame_of(uint8_t *pixels, uint32_t area)
{
    memset(pixels, 17, PIXELS * 3);
    for (uint32_t n = 0; n < area; n++)
        pixels[3 * n] = 255;
    scanside_image image;
    scanside_image_init(&image, sizeof image);
    image.height = HEIGHT;
    image.width = WIDTH;
    image.pixels = pixels;
    return image;
}

void check_answer(const scanside_result *result, const uint8_t *mask, uint32_t area)
{
    CHECK(result->status == SCANSIDE_STATUS_OK);
    CHECK(result->area_px == area);
    CHECK(result->tumor == (area > 0 ? SCANSIDE_TUMOR_TRUE : SCANSIDE_TUMOR_FALSE));
    CHECK((result->flags & SCANSIDE_HAS_MASK) != 0 && (result->flags & SCANSIDE_NULL_BACKEND) != 0);
    CHECK(result->height == HEIGHT && result->width == WIDTH);
    CHECK(result->tumor_probability > 0.74 && result->tumor_probability < 0.76);
    for (uint32_t n = 0; n < PIXELS; n++)
        CHECK(mask[n] == (n < area));
}

int32_t infer(scanside_session *handle, uint32_t area, uint32_t timeout_ms)
{
    static __thread uint8_t pixels[PIXELS * 3], mask[PIXELS];
    scanside_result result;
    scanside_result_init(&result, sizeof result);
    scanside_image image = frame_of(pixels, area);
    int32_t code = scanside_infer(handle, &image, &result, mask, sizeof mask, timeout_ms);
    if (code == SCANSIDE_OK)
        check_answer(&result, mask, area);
    return code;
}

int32_t submit(scanside_session *handle, uint32_t area, uint64_t *ticket, uint32_t timeout_ms)
{
    static __thread uint8_t pixels[PIXELS * 3];
    scanside_image image = frame_of(pixels, area);
    int32_t code = scanside_submit(handle, &image, ticket, timeout_ms);
    memset(pixels, 255, sizeof pixels); /* the library has its own copy */
    return code;
}

int32_t wait_for(scanside_session *handle, uint64_t ticket, uint32_t area, uint32_t timeout_ms)
{
    static __thread uint8_t mask[PIXELS];
    scanside_result result;
    scanside_result_init(&result, sizeof result);
    int32_t code = scanside_wait(handle, ticket, &result, mask, sizeof mask, timeout_ms);
    if (code == SCANSIDE_OK)
        check_answer(&result, mask, area);
    return code;
}

void run_threads(scanside_session *handle, void *(*const work[])(void *), size_t kinds)
{
    pthread_t threads[THREADS];
    for (size_t n = 0; n < THREADS; n++)
        CHECK(pthread_create(&threads[n], NULL, work[n % kinds], handle) == 0);
    for (size_t n = 0; n < THREADS; n++)
        CHECK(pthread_join(threads[n], NULL) == 0);
}

bool no_children(void) { return waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD; }
