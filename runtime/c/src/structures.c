#include "structures.h"

#include <math.h>
#include <string.h>

#include "errors.h"

enum {
    DEFAULT_START_TIMEOUT_MS = 60 * 1000,
    /* 512 x 512 x 3 pixels of 16 bits and a mask, in whole pages. */
    DEFAULT_SLOT_BYTES = 2 * 1024 * 1024
};

/* The last field that each had in version 0.1. */
#define STRUCTURE(type, last_field)                                                                \
    {#type, offsetof(type, last_field) + sizeof((type *)0)->last_field, sizeof(type)}

const struct structure scn_options_structure = STRUCTURE(scanside_options, slot_bytes);
const struct structure scn_image_structure = STRUCTURE(scanside_image, no_mask);
const struct structure scn_result_structure = STRUCTURE(scanside_result, reason);
const struct structure scn_info_structure = STRUCTURE(scanside_info, license);
const struct structure scn_statistics_structure = STRUCTURE(scanside_statistics, rejected);

static size_t smaller(size_t one, size_t other) { return one < other ? one : other; }

/* Every structure begins with its size. */
static uint32_t size_of(const void *structure)
{
    uint32_t size;
    memcpy(&size, structure, sizeof size);
    return size;
}

/* Set a caller's structure of any version to the defaults of this one. */
static void set_defaults(const struct structure *structure, void *given, size_t size,
                         const void *defaults)
{
    uint32_t written = (uint32_t)size;
    if (given == NULL || size < sizeof written)
        return;
    memset(given, 0, size);
    memcpy(given, defaults, smaller(size, structure->now));
    memcpy(given, &written, sizeof written);
}

void scanside_options_init(scanside_options *options, size_t struct_size)
{
    const scanside_options defaults = {.start_timeout_ms = DEFAULT_START_TIMEOUT_MS,
                                       .slot_bytes = DEFAULT_SLOT_BYTES};
    set_defaults(&scn_options_structure, options, struct_size, &defaults);
}

void scanside_image_init(scanside_image *image, size_t struct_size)
{
    const scanside_image defaults = {.channels = 3, .dtype = SCANSIDE_U8};
    set_defaults(&scn_image_structure, image, struct_size, &defaults);
}

void scanside_result_init(scanside_result *result, size_t struct_size)
{
    const scanside_result defaults = {.status = SCANSIDE_STATUS_NONE,
                                      .tumor = SCANSIDE_TUMOR_UNKNOWN,
                                      .tumor_probability = NAN,
                                      .area_mm2 = NAN};
    set_defaults(&scn_result_structure, result, struct_size, &defaults);
}

void scanside_info_init(scanside_info *info, size_t struct_size)
{
    const scanside_info defaults = {0};
    set_defaults(&scn_info_structure, info, struct_size, &defaults);
}

void scanside_statistics_init(scanside_statistics *statistics, size_t struct_size)
{
    const scanside_statistics defaults = {0};
    set_defaults(&scn_statistics_structure, statistics, struct_size, &defaults);
}

int32_t scn_structure_check(const struct structure *structure, const void *given)
{
    if (given == NULL)
        return scn_error(SCANSIDE_ERROR_ARGUMENT, "the %s is NULL", structure->name);
    if (size_of(given) < structure->first)
        return scn_error(SCANSIDE_ERROR_ARGUMENT,
                         "%s.struct_size is %lu; accepted: %lu or more; call %s_init first",
                         structure->name, (unsigned long)size_of(given),
                         (unsigned long)structure->first, structure->name);
    return SCANSIDE_OK;
}

int32_t scn_structure_take(const struct structure *structure, void *own, const void *given)
{
    int32_t code = scn_structure_check(structure, given);
    if (code != SCANSIDE_OK)
        return code;
    const uint8_t *bytes = given;
    for (size_t n = structure->now; n < size_of(given); n++)
        if (bytes[n] != 0)
            return scn_error(SCANSIDE_ERROR_ARGUMENT,
                             "%s has a field that this library does not know: its header is newer "
                             "than the library",
                             structure->name);
    memcpy(own, given, smaller(size_of(given), structure->now));
    return SCANSIDE_OK;
}

void scn_structure_give(const struct structure *structure, void *given, const void *own)
{
    uint32_t size = size_of(given);
    memcpy(given, own, smaller(size, structure->now));
    memcpy(given, &size, sizeof size);
}

void scn_result_fill(scanside_result *result, const struct request *request)
{
    const struct wire_result *wire = &request->result;
    result->ticket = request->id;
    result->cause = request->cause;
    result->height = request->height;
    result->width = request->width;
    size_t length = strlen(request->text);
    if (length >= sizeof result->reason) {
        length = sizeof result->reason - 1;
        while (length > 0 && ((unsigned char)request->text[length] & 0xC0) == 0x80)
            length--; /* not within a character */
    }
    memcpy(result->reason, request->text, length);
    result->reason[length] = '\0';
    if (!request->has_result)
        return;
    result->flags =
        wire->flags & (SCANSIDE_HAS_PROBABILITY | SCANSIDE_HAS_AREA | SCANSIDE_HAS_AREA_MM2 |
                       SCANSIDE_HAS_BOX | SCANSIDE_FILLED | SCANSIDE_NULL_BACKEND);
    result->status = wire->status;
    result->tumor = wire->tumor;
    result->segmented = wire->segmented;
    if ((wire->flags & WIRE_RESULT_PROBABILITY) != 0)
        result->tumor_probability = wire->tumor_probability;
    if ((wire->flags & WIRE_RESULT_AREA_MM2) != 0)
        result->area_mm2 = wire->area_mm2;
    if ((wire->flags & WIRE_RESULT_AREA) != 0) {
        result->area_px = wire->area_px;
        result->components = wire->components;
    }
    if ((wire->flags & WIRE_RESULT_BOX) != 0) {
        result->box_top = wire->box_top;
        result->box_left = wire->box_left;
        result->box_bottom = wire->box_bottom;
        result->box_right = wire->box_right;
    }
    result->queue_us = wire->queue_us;
    result->preprocess_us = wire->preprocess_us;
    result->classify_us = wire->classify_us;
    result->segment_us = wire->segment_us;
    result->postprocess_us = wire->postprocess_us;
    result->total_us = wire->total_us;
}

void scn_info_fill(scanside_info *info, const scanside_session *handle)
{
    const struct wire_hello *hello = &handle->hello;
    scanside_info_init(info, sizeof *info);
    info->flags = hello->flags & ~(uint32_t)SCANSIDE_SERVER_SHARED_MEMORY;
    if (handle->ring.shared)
        info->flags |= SCANSIDE_SERVER_SHARED_MEMORY;
    info->protocol_major = hello->major;
    info->protocol_minor = hello->minor;
    info->slots = handle->slots;
    info->queue_depth = hello->queue_depth;
    info->slot_bytes = handle->slot_bytes;
    info->watchdog_ms = hello->watchdog_ms;
    info->restarts = hello->restarts;
    info->min_side = hello->min_side;
    info->max_side = hello->max_side;
    info->gate = hello->gate;
    info->decision = hello->decision;
    info->mask = hello->mask;
    info->pid = handle->child.pid;
    memcpy(info->bundle_sha256, hello->bundle_sha256, sizeof info->bundle_sha256);
    memcpy(info->version, hello->version, sizeof info->version);
    memcpy(info->backend, hello->backend, sizeof info->backend);
    memcpy(info->precision, hello->precision, sizeof info->precision);
    memcpy(info->bundle, hello->bundle, sizeof info->bundle);
    memcpy(info->license, hello->license, sizeof info->license);
}

void scn_statistics_fill(scanside_statistics *statistics, const struct wire_stats *stats)
{
    scanside_statistics_init(statistics, sizeof *statistics);
    statistics->uptime_us = stats->uptime_us;
    statistics->accepted = stats->accepted;
    statistics->answered = stats->answered;
    statistics->failed = stats->failed;
    statistics->dropped = stats->dropped;
    statistics->refused = stats->refused;
    statistics->in_flight = stats->in_flight;
    statistics->clients = stats->clients;
    statistics->restarts = stats->restarts;
    statistics->rss_bytes = stats->rss_bytes;
    statistics->indeterminate = stats->indeterminate;
    statistics->rejected = stats->rejected;
}
