/* Analyse slices: infer /path/to/scanside SLICE.ppm... [-- ARGUMENTS OF scanside serve]
 *
 * A slice is a binary PPM whose red, green and blue are pre-contrast, FLAIR and post-contrast.
 * SLICE.ppm.mask.pgm becomes white where the algorithm outlines a region. Research use only. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "scanside.h"

enum { SIDE = 1024 };
static uint8_t pixels[SIDE * SIDE * 3], mask[SIDE * SIDE];

static int read_ppm(const char *path, scanside_image *image)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return -1;
    int sizes = fscanf(file, "P6 %" SCNu32 " %" SCNu32 " 255", &image->width, &image->height);
    int whole = sizes == 2 && fgetc(file) != EOF && image->width <= SIDE && image->height <= SIDE &&
                fread(pixels, (size_t)image->width * 3, image->height, file) == image->height;
    image->pixels = pixels;
    fclose(file);
    return whole ? 0 : -1;
}

static int write_mask(const char *slice, const scanside_result *result)
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
    scanside_result found;
    scanside_result_init(&found, sizeof found);
    if (read_ppm(slice, &image) != 0)
        return printf("%s: no binary PPM of 8 bits, up to %d x %d\n", slice, SIDE, SIDE);
    if (scanside_infer(session, &image, &found, mask, sizeof mask, 10000) != SCANSIDE_OK)
        return printf("%s: %s\n", slice, scanside_last_error());
    if (write_mask(slice, &found) != 0)
        return printf("%s: its mask cannot be written\n", slice);
    printf("%s: status %" PRIu32 ", tumor %" PRIu32 ", probability %.9g, %" PRIu32 " px\n", slice,
           found.status, found.tumor, found.tumor_probability, found.area_px);
    return 0;
}

int main(int count, char **words)
{
    int end, failed = 0;
    for (end = 2; end < count && strcmp(words[end], "--") != 0; end++) {}
    scanside_options options;
    scanside_options_init(&options, sizeof options);
    options.executable = count > 1 ? words[1] : NULL;
    options.arguments = end < count ? (const char *const *)&words[end + 1] : NULL;
    scanside_session *session = NULL;
    if (scanside_open(&options, &session) != SCANSIDE_OK)
        return fprintf(stderr, "%s\n", scanside_last_error()) != 0;
    for (int n = 2; n < end; n++)
        failed |= analyse(session, words[n]) != 0;
    return scanside_close(session, 5000) != SCANSIDE_OK || failed;
}
