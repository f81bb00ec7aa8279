/* What a slice costs through the library:
 *
 *     bench [--pipe] [--paced] [--requests N] [--frames FILE HEIGHT WIDTH]
 *           /path/to/scanside [ARGUMENT...]
 *
 * FILE holds frames of HEIGHT x WIDTH x 3 bytes, taken by turns; without it there is one of 256 x
 * 256, made up. One line of JSON on stdout: the time from scanside_open to the first result, the
 * round trip of one slice after the other, and the slices a second with every slot in flight. With
 * `--paced` it takes turns with another program: only the slices a second, a line of them for each
 * line on stdin. With `--backend null` as arguments it is the overhead of the way alone. */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "scanside.h"

struct frames {
    uint8_t *pixels;
    uint32_t height, width, count;
};

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void must(int32_t code, const char *what)
{
    if (code == SCANSIDE_OK)
        return;
    fprintf(stderr, "%s: %s: %s\n", what, scanside_strerror(code), scanside_last_error());
    exit(1);
}

static size_t frame_bytes(const struct frames *frames)
{
    return (size_t)frames->height * frames->width * 3;
}

static int make_frame(struct frames *frames)
{
    frames->height = frames->width = 256;
    frames->count = 1;
    frames->pixels = malloc(frame_bytes(frames));
    if (frames->pixels == NULL)
        return -1;
    for (size_t n = 0; n < frame_bytes(frames); n++)
        frames->pixels[n] = (uint8_t)(n * 31 % 251);
    return 0;
}

static int read_frames(struct frames *frames, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0)
        return -1;
    long size = ftell(file);
    rewind(file);
    frames->count = (uint32_t)((size_t)size / frame_bytes(frames));
    frames->pixels = malloc((size_t)size);
    size_t got = frames->pixels != NULL ? fread(frames->pixels, 1, (size_t)size, file) : 0;
    fclose(file);
    return got == (size_t)size && frames->count > 0 ? 0 : -1;
}

static scanside_image frame(const struct frames *frames, uint32_t number)
{
    scanside_image image;
    scanside_image_init(&image, sizeof image);
    image.height = frames->height;
    image.width = frames->width;
    image.pixels = frames->pixels + number % frames->count * frame_bytes(frames);
    return image;
}

static int by_size(const void *one, const void *other)
{
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

/* One after the other; microseconds each, sorted. */
static void round_trips(scanside_session *session, const struct frames *frames, uint8_t *mask,
                        double *times, uint32_t requests)
{
    scanside_result result;
    scanside_result_init(&result, sizeof result);
    for (uint32_t n = 0; n < requests; n++) {
        scanside_image image = frame(frames, n);
        double began = now_us();
        must(scanside_infer(session, &image, &result, mask, frame_bytes(frames) / 3,
                            SCANSIDE_FOREVER),
             "infer");
        times[n] = now_us() - began;
    }
    qsort(times, requests, sizeof *times, by_size);
}

/* Every slot in flight; slices a second. */
static double streamed(scanside_session *session, const struct frames *frames, uint8_t *mask,
                       uint32_t slots, uint32_t requests)
{
    scanside_result result;
    scanside_result_init(&result, sizeof result);
    double began = now_us();
    for (uint32_t sent = 0, done = 0; done < requests;) {
        if (sent < requests && sent - done < slots) {
            scanside_image image = frame(frames, sent++);
            uint64_t ticket;
            must(scanside_submit(session, &image, &ticket, SCANSIDE_FOREVER), "submit");
            continue;
        }
        must(scanside_wait(session, SCANSIDE_ANY, &result, mask, frame_bytes(frames) / 3,
                           SCANSIDE_FOREVER),
             "wait");
        done++;
    }
    return requests / (now_us() - began) * 1e6;
}

static void report(scanside_session *session, const struct frames *frames, uint8_t *mask,
                   const scanside_info *info, uint32_t requests, double first_result)
{
    double *times = malloc(requests * sizeof *times);
    if (times == NULL)
        exit(1);
    round_trips(session, frames, mask, times, requests / 10 + 1); /* warm */
    round_trips(session, frames, mask, times, requests);
    double rate = streamed(session, frames, mask, info->slots, requests);
    printf("{\"backend\": \"%s\", \"shared_memory\": %s, \"requests\": %" PRIu32
           ", \"slots\": %" PRIu32 ", \"first_result_ms\": %.1f, \"round_trip_us\": "
           "{\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"max\": %.1f}, "
           "\"slices_per_second\": %.1f}\n",
           info->backend, (info->flags & SCANSIDE_SERVER_SHARED_MEMORY) != 0 ? "true" : "false",
           requests, info->slots, first_result / 1e3, times[requests / 2],
           times[requests * 9 / 10], times[requests * 99 / 100], times[requests - 1], rate);
    free(times);
}

static void measure(const scanside_options *options, const struct frames *frames, uint32_t requests,
                    int paced)
{
    uint8_t *mask = malloc(frame_bytes(frames) / 3);
    if (mask == NULL)
        exit(1);
    double began = now_us(), first;
    scanside_session *session = NULL;
    must(scanside_open(options, &session), "open");
    round_trips(session, frames, mask, &first, 1);
    double first_result = now_us() - began;

    scanside_info info;
    scanside_info_init(&info, sizeof info);
    must(scanside_get_info(session, &info), "info");
    if (!paced)
        report(session, frames, mask, &info, requests, first_result);
    for (int c; paced && (c = getchar()) != EOF;)
        if (c == '\n') {
            printf("%.1f\n", streamed(session, frames, mask, info.slots, requests));
            fflush(stdout);
        }
    must(scanside_close(session, 10000), "close");
    free(mask);
}

int main(int count, char **words)
{
    scanside_options options;
    scanside_options_init(&options, sizeof options);
    struct frames frames = {NULL, 0, 0, 0};
    uint32_t requests = 5000;
    int n = 1, paced = 0;
    for (; n < count && words[n][0] == '-'; n++) {
        if (strcmp(words[n], "--pipe") == 0) {
            options.flags |= SCANSIDE_NO_SHARED_MEMORY;
        } else if (strcmp(words[n], "--paced") == 0) {
            paced = 1;
        } else if (strcmp(words[n], "--requests") == 0 && n + 1 < count) {
            requests = (uint32_t)strtoul(words[++n], NULL, 10);
        } else if (strcmp(words[n], "--frames") == 0 && n + 3 < count) {
            frames.height = (uint32_t)strtoul(words[n + 2], NULL, 10);
            frames.width = (uint32_t)strtoul(words[n + 3], NULL, 10);
            if (read_frames(&frames, words[n + 1]) != 0) {
                fprintf(stderr, "%s cannot be read\n", words[n + 1]);
                return 1;
            }
            n += 3;
        } else {
            break;
        }
    }
    if (n >= count || requests == 0 || (frames.pixels == NULL && make_frame(&frames) != 0)) {
        fprintf(stderr, "usage: bench [--pipe] [--paced] [--requests N] "
                        "[--frames FILE HEIGHT WIDTH] /path/to/scanside [ARGUMENT...]\n");
        return 2;
    }
    options.executable = words[n];
    options.arguments = (const char *const *)&words[n + 1];
    measure(&options, &frames, requests, paced);
    free(frames.pixels);
    return 0;
}
