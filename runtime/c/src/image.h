/* The caller's image: checked, and copied into a slot. */
#ifndef SCANSIDE_IMAGE_H
#define SCANSIDE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "scanside.h"

/* Check what the library itself relies on, and give the frame's bytes; the server checks the rest.
 */
int32_t scn_image_check(const scanside_image *image, size_t slot_bytes, size_t *frame_bytes);

/* Copy the pixels to [height][width][channels] without padding. */
void scn_image_copy(const scanside_image *image, uint8_t *frame);

/* Copy a mask of so many bytes; the number of pixels inside, or SIZE_MAX where a byte is neither 0
 * nor 1. */
size_t scn_mask_copy(uint8_t *to, const uint8_t *mask, size_t bytes);

#endif
