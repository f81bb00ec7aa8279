/* What every scenario uses: a handle, frames that tell themselves apart, checks that end the
 * program. */
#ifndef SCANSIDE_TESTS_HOST_H
#define SCANSIDE_TESTS_HOST_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "scanside.h"

enum { HEIGHT = 48, WIDTH = 64, PIXELS = HEIGHT * WIDTH, THREADS = 8, A_THREAD = 50 };

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s; last error: %s\n", __FILE__, __LINE__, #condition,         \
                    scanside_last_error());                                                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* From the command line. */
extern bool in_pipe;
extern const char *executable;
extern const char *arguments[16];

int64_t now_ms(void);
void sleep_ms(long milliseconds);
int open_descriptors(void);
/* No child is left, not even one that has ended. */
bool no_children(void);

scanside_options options_of(uint32_t slots);
scanside_session *open_with(uint32_t slots);

/* A frame whose mask has `area` pixels: the fake server's mask is where the first channel is 255.
 */
scanside_image frame_of(uint8_t *pixels, uint32_t area);
void check_answer(const scanside_result *result, const uint8_t *mask, uint32_t area);

/* scanside_infer, _submit and _wait with such a frame; an answer is checked. */
int32_t infer(scanside_session *handle, uint32_t area, uint32_t timeout_ms);
int32_t submit(scanside_session *handle, uint32_t area, uint64_t *ticket, uint32_t timeout_ms);
int32_t wait_for(scanside_session *handle, uint64_t ticket, uint32_t area, uint32_t timeout_ms);

/* THREADS threads, which do the kinds of work by turns. */
void run_threads(scanside_session *handle, void *(*const work[])(void *), size_t kinds);

struct scenario {
    const char *name;
    void (*run)(void);
};

/* Each ends with a name that is NULL. */
extern const struct scenario good_servers[], bad_servers[], hosts[];

#endif
