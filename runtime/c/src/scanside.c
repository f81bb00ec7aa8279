/* The functions of scanside.h about the server: started, asked, ended. Those about slices are in
 * slices.c. Each checks its arguments, takes the lock, and has the other parts do the work. */
#define _POSIX_C_SOURCE 200809L
#include "scanside.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connection.h"
#include "errors.h"
#include "handle.h"
#include "server.h"
#include "structures.h"

int32_t scanside_open(const scanside_options *options, scanside_session **handle)
{
    if (handle == NULL)
        return scn_error(SCANSIDE_ERROR_ARGUMENT, "the place for the handle is NULL");
    *handle = NULL;
    scanside_options given;
    scanside_options_init(&given, sizeof given);
    int32_t code = scn_structure_take(&scn_options_structure, &given, options);
    scanside_session *made = NULL;
    if (code == SCANSIDE_OK)
        code = scn_handle_make(&given, &made);
    if (code == SCANSIDE_OK)
        code = scanside_restart(made);
    if (code == SCANSIDE_OK)
        *handle = made;
    else
        scn_handle_free(made);
    return code;
}

int32_t scanside_restart(scanside_session *handle)
{
    int32_t code = scn_enter(handle);
    if (code != SCANSIDE_OK)
        return code;
    if (handle->state == SERVER_STARTING) {
        while (handle->state == SERVER_STARTING)
            scn_wait_changed(handle, INT64_MAX);
        if (handle->start_code != SCANSIDE_OK)
            scn_error(handle->start_code, "%s", handle->ended);
        return scn_leave(handle, handle->start_code);
    }
    if (handle->state == SERVER_UP)
        return scn_leave(handle, SCANSIDE_OK);
    handle->state = SERVER_STARTING;
    while (handle->pumping || handle->copying > 0)
        scn_wait_changed(handle, INT64_MAX);
    scn_server_discard(handle);
    handle->start_code = scn_server_start(handle);
    handle->state = handle->start_code == SCANSIDE_OK ? SERVER_UP : SERVER_DOWN;
    scn_changed(handle);
    return scn_leave(handle, handle->start_code);
}

int32_t scanside_kill(scanside_session *handle)
{
    int32_t code = scn_enter(handle);
    if (code != SCANSIDE_OK)
        return code;
    if (handle->state != SERVER_UP)
        return scn_leave(handle, scn_down(handle));
    scn_process_signal(&handle->child, SIGKILL);
    /* The stream ends now, whoever else holds the other end of it. */
    shutdown(handle->connection, SHUT_RDWR);
    while (handle->state == SERVER_UP)
        scn_pump(handle, INT64_MAX);
    return scn_leave(handle, SCANSIDE_OK);
}

int32_t scanside_close(scanside_session *handle, uint32_t timeout_ms)
{
    if (handle == NULL)
        return SCANSIDE_OK;
    int32_t code = SCANSIDE_OK;
    if (handle->owner == getpid()) {
        pthread_mutex_lock(&handle->lock);
        code = scn_server_drain(handle, scn_deadline(timeout_ms));
        scn_server_discard(handle);
        pthread_mutex_unlock(&handle->lock);
    } else {
        handle->ring.base = NULL; /* not mapped here: MADV_DONTFORK */
    }
    scn_handle_free(handle);
    return code;
}

int32_t scanside_get_info(scanside_session *handle, scanside_info *info)
{
    scanside_info filled;
    int32_t code = scn_structure_check(&scn_info_structure, info);
    if (code == SCANSIDE_OK)
        code = scn_enter(handle);
    if (code != SCANSIDE_OK)
        return code;
    if (handle->state != SERVER_UP)
        return scn_leave(handle, scn_down(handle));
    scn_info_fill(&filled, handle);
    scn_leave(handle, SCANSIDE_OK);
    scn_structure_give(&scn_info_structure, info, &filled);
    return SCANSIDE_OK;
}

int32_t scanside_get_description(scanside_session *handle, char *text, size_t *size)
{
    int32_t code =
        size == NULL ? scn_error(SCANSIDE_ERROR_ARGUMENT, "size is NULL") : scn_enter(handle);
    if (code != SCANSIDE_OK)
        return code;
    if (handle->state != SERVER_UP)
        return scn_leave(handle, scn_down(handle));
    size_t room = text != NULL ? *size : 0;
    *size = strlen(handle->description) + 1;
    if (room < *size)
        code = scn_error(SCANSIDE_ERROR_BUFFER, "room for %llu bytes; needed: %llu",
                         (unsigned long long)room, (unsigned long long)*size);
    else
        memcpy(text, handle->description, *size);
    return scn_leave(handle, code);
}

static int32_t ask_statistics(scanside_session *handle, scanside_statistics *filled,
                              int64_t deadline)
{
    struct control *control = &handle->control;
    int32_t code = scn_control_take(handle, deadline);
    if (code != SCANSIDE_OK)
        return code;
    scn_control_send(handle, WIRE_STATS,
                     scn_wire_put_header(control->message, WIRE_STATS, 0, 0, control->id));
    code = scn_control_wait(handle, deadline);
    if (code == SCANSIDE_OK)
        scn_statistics_fill(filled, &control->stats);
    scn_control_leave(handle);
    return code;
}

int32_t scanside_get_statistics(scanside_session *handle, scanside_statistics *statistics,
                                uint32_t timeout_ms)
{
    int64_t deadline = scn_deadline(timeout_ms);
    scanside_statistics filled;
    int32_t code = scn_structure_check(&scn_statistics_structure, statistics);
    if (code == SCANSIDE_OK)
        code = scn_enter(handle);
    if (code != SCANSIDE_OK)
        return code;
    code = scn_leave(handle, ask_statistics(handle, &filled, deadline));
    if (code == SCANSIDE_OK)
        scn_structure_give(&scn_statistics_structure, statistics, &filled);
    return code;
}
