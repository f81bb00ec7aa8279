/* Analyse slices: infer /path/to/scanside SLICE.ppm... [-- ARGUMENTS OF scanside serve]
 *
 * A slice is a binary PPM whose red, green and blue are pre-contrast, FLAIR and post-contrast.
 * SLICE.ppm.mask.pgm becomes white where the algorithm outlines a region. Research use only. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scanside.h"

static void log_line(void *context, const char *line) { fprintf(context, "server: %s\n", line); }

/* The pixels of a binary PPM of 8 bits; NULL where it is none. */
static uint8_t *read_ppm(const char *path, scanside_image *image)
{
    uint8_t *pixels = NULL;
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return NULL;
    if (fscanf(file, "P6 %" SCNu32 " %" SCNu32 " 255", &image->width, &image->height) == 2 &&
        fgetc(file) != EOF && image->width <= 4096 && image->height <= 4096) {
        size_t bytes = (size_t)image->width * image->height * 3;
        pixels = malloc(bytes);
        if (pixels != NULL && fread(pixels, 1, bytes, file) != bytes) {
            free(pixels);
            pixels = NULL;
        }
    }
    fclose(file);
    return pixels;
}

static int write_mask(const char *slice, const uint8_t *mask, const scanside_result *result)
{
    char path[4096];
    snprintf(path, sizeof path, "%s.mask.pgm", slice);
    FILE *file = fopen(path, "wb");
    if (file == NULL)
        return -1;
    fprintf(file, "P5\n%" PRIu32 " %" PRIu32 "\n1\n", result->width, result->height);
    fwrite(mask, 1, (size_t)result->width * result->height, file);
    return fclose(file);
}

static int analyse(scanside_session *session, const char *slice)
{
    scanside_image image;
    scanside_image_init(&image, sizeof image);
    uint8_t *pixels = read_ppm(slice, &image);
    size_t mask_bytes = (size_t)image.width * image.height;
    uint8_t *mask = pixels != NULL ? malloc(mask_bytes) : NULL;
    scanside_result result;
    scanside_result_init(&result, sizeof result);
    image.pixels = pixels;
    int failed = 1;
    if (mask == NULL)
        printf("%s: no binary PPM of 8 bits\n", slice);
    else if (scanside_infer(session, &image, &result, mask, mask_bytes, 10000) != SCANSIDE_OK)
        printf("%s: %s\n", slice, scanside_last_error());
    else if (write_mask(slice, mask, &result) != 0)
        printf("%s: its mask cannot be written\n", slice);
    else
        failed =
            printf("%s: status %" PRIu32 ", tumor %" PRIu32 ", probability %.9g, %" PRIu32 " px\n",
                   slice, result.status, result.tumor, result.tumor_probability,
                   result.area_px) < 0;
    free(mask);
    free(pixels);
    return failed;
}

int main(int count, char **words)
{
    int slices = 2, failed = 0;
    while (slices < count && strcmp(words[slices], "--") != 0)
        slices++;
    scanside_options options;
    scanside_options_init(&options, sizeof options);
    options.executable = count > 1 ? words[1] : NULL;
    options.arguments = slices < count ? (const char *const *)&words[slices + 1] : NULL;
    options.log = log_line;
    options.log_context = stderr;
    scanside_session *session = NULL;
    if (scanside_open(&options, &session) != SCANSIDE_OK) {
        fprintf(stderr, "%s\n", scanside_last_error());
        return 1;
    }
    for (int n = 2; n < slices; n++)
        failed |= analyse(session, words[n]);
    return scanside_close(session, 5000) != SCANSIDE_OK || failed;
}
