/* The structures of scanside.h, of any version, to and from those of this library. */
#ifndef SCANSIDE_STRUCTURES_H
#define SCANSIDE_STRUCTURES_H

#include "handle.h"

/* Sizes of a structure: in version 0.1, below which no caller's is, and in this library. */
struct structure {
    const char *name;
    size_t first, now;
};

extern const struct structure scn_options_structure, scn_image_structure, scn_result_structure,
    scn_info_structure, scn_statistics_structure;

/* Check that a caller's structure is one. */
int32_t scn_structure_check(const struct structure *structure, const void *given);

/* Copy a caller's structure into this library's, over its defaults: what the caller's does not
 * have keeps them, and what this library does not know must be 0. */
int32_t scn_structure_take(const struct structure *structure, void *own, const void *given);

/* Copy this library's structure into the caller's, as far as that one goes. */
void scn_structure_give(const struct structure *structure, void *given, const void *own);

void scn_result_fill(scanside_result *result, const struct request *request);
void scn_info_fill(scanside_info *info, const scanside_session *handle);
void scn_statistics_fill(scanside_statistics *statistics, const struct wire_stats *stats);

#endif
