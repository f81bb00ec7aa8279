/* The memory of the slots. */
#ifndef SCANSIDE_RING_H
#define SCANSIDE_RING_H

#include "handle.h"

/* Take memory for the slots; with `shared`, a sealed memfd. A code of scanside.h. */
int32_t scn_ring_make(struct ring *ring, uint32_t slots, size_t slot_bytes, bool shared);
void scn_ring_free(struct ring *ring);

/* Slot n's frame, and its mask after a frame of so many bytes. */
uint8_t *scn_ring_slot(const struct ring *ring, uint32_t slot);

#endif
