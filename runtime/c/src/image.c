#include "image.h"

#include <string.h>

#include "errors.h"
#include "wire.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "pixels are handed over in the host's byte order, and the protocol is little-endian"
#endif

static size_t pixel_bytes(const scanside_image *image)
{
    switch (image->dtype) {
    case SCANSIDE_U8:
        return 1;
    case SCANSIDE_U16:
        return 2;
    case SCANSIDE_F32:
        return 4;
    default:
        return 0;
    }
}

/* Bytes of one row as the caller has it, without padding. */
static uint64_t row_bytes(const scanside_image *image)
{
    uint64_t channels = image->pixels != NULL ? image->channels : 1;
    return (uint64_t)image->width * channels * pixel_bytes(image);
}

int32_t scn_image_check(const scanside_image *image, size_t slot_bytes, size_t *frame_bytes)
{
    const uint32_t known = SCANSIDE_WINDOW | SCANSIDE_SPACING | SCANSIDE_FILL_MISSING;
    if ((image->flags & ~known) != 0)
        return scn_error(SCANSIDE_ERROR_ARGUMENT, "image.flags is %#lx; accepted: bits of %#lx",
                         (unsigned long)image->flags, (unsigned long)known);
    if (pixel_bytes(image) == 0)
        return scn_error(SCANSIDE_ERROR_ARGUMENT,
                         "image.dtype is %lu; accepted: SCANSIDE_U8, SCANSIDE_U16, SCANSIDE_F32",
                         (unsigned long)image->dtype);
    if (image->channels != 3 && image->channels != 1)
        return scn_error(SCANSIDE_ERROR_ARGUMENT,
                         "image.channels is %lu; accepted: 3, or 1 with SCANSIDE_FILL_MISSING",
                         (unsigned long)image->channels);
    if (image->height == 0 || image->width == 0 || image->height > UINT16_MAX ||
        image->width > UINT16_MAX)
        return scn_error(SCANSIDE_ERROR_ARGUMENT, "the image is %lu x %lu pixels",
                         (unsigned long)image->width, (unsigned long)image->height);
    for (uint32_t n = 0; n < image->channels; n++)
        if ((image->pixels == NULL) == (image->planes[n] == NULL))
            return scn_error(SCANSIDE_ERROR_ARGUMENT,
                             "image.pixels and image.planes[%lu] are %s; accepted: either pixels, "
                             "or a plane for each channel",
                             (unsigned long)n, image->pixels == NULL ? "both NULL" : "both given");
    if (image->row_bytes != 0 && image->row_bytes < row_bytes(image))
        return scn_error(SCANSIDE_ERROR_ARGUMENT, "image.row_bytes is %llu; a row has %llu bytes",
                         (unsigned long long)image->row_bytes,
                         (unsigned long long)row_bytes(image));
    uint64_t pixels = (uint64_t)image->height * image->width;
    uint64_t frame = pixels * image->channels * pixel_bytes(image);
    if (frame > slot_bytes || scn_wire_mask_offset((size_t)frame) + pixels > slot_bytes)
        return scn_error(SCANSIDE_ERROR_ARGUMENT,
                         "a frame of %llu bytes and its mask do not fit in a slot of %llu bytes; "
                         "give scanside_open a larger slot_bytes",
                         (unsigned long long)frame, (unsigned long long)slot_bytes);
    *frame_bytes = (size_t)frame;
    return SCANSIDE_OK;
}

/* Three planes' rows become one: pixel by pixel, `size` being a constant where it is called. */
static inline void interleave(uint8_t *to, const uint8_t *const rows[3], size_t width,
                              size_t channels, size_t size)
{
    for (size_t x = 0; x < width; x++)
        for (size_t n = 0; n < channels; n++, to += size)
            memcpy(to, rows[n] + x * size, size);
}

void scn_image_copy(const scanside_image *image, uint8_t *frame)
{
    size_t size = pixel_bytes(image), width = image->width, channels = image->channels;
    size_t row = (size_t)row_bytes(image);
    size_t stride = image->row_bytes != 0 ? (size_t)image->row_bytes : row;
    if (image->pixels != NULL && stride == row) {
        memcpy(frame, image->pixels, row * image->height);
        return;
    }
    for (size_t y = 0; y < image->height; y++, frame += width * channels * size) {
        if (image->pixels != NULL) {
            memcpy(frame, (const uint8_t *)image->pixels + y * stride, row);
            continue;
        }
        const uint8_t *rows[3] = {NULL, NULL, NULL};
        for (size_t n = 0; n < channels; n++)
            rows[n] = (const uint8_t *)image->planes[n] + y * stride;
        if (size == 1)
            interleave(frame, rows, width, channels, 1);
        else if (size == 2)
            interleave(frame, rows, width, channels, 2);
        else
            interleave(frame, rows, width, channels, 4);
    }
}

size_t scn_mask_copy(uint8_t *to, const uint8_t *mask, size_t bytes)
{
    const uint64_t ones = 0x0101010101010101;
    memcpy(to, mask, bytes);
    size_t inside = 0, at = 0;
    uint64_t seen = 0;
    for (; at + sizeof seen <= bytes; at += sizeof seen) {
        uint64_t eight;
        memcpy(&eight, to + at, sizeof eight);
        seen |= eight;
        inside += (size_t)((eight & ones) * ones >> 56); /* the sum of eight bytes of 0 or 1 */
    }
    for (; at < bytes; at++) {
        seen |= to[at];
        inside += to[at];
    }
    return (seen & ~ones) == 0 ? inside : SIZE_MAX;
}
