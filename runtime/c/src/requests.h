/* The table of requests and the queue of what is to be sent: no input or output, the lock held. */
#ifndef SCANSIDE_REQUESTS_H
#define SCANSIDE_REQUESTS_H

#include "handle.h"

/* A free record with a new ticket, now FILLING; NULL where every slot is taken. */
struct request *scn_request_take(scanside_session *handle);

/* The request of a ticket; NULL where there is none. */
struct request *scn_request_find(scanside_session *handle, uint64_t ticket);

/* Among those that nobody waits for by name, the earliest that is answered or lost, or NULL. */
struct request *scn_request_first_done(scanside_session *handle);

uint32_t scn_request_slot(const scanside_session *handle, const struct request *request);
bool scn_request_done(const struct request *request);

/* The server has the request, or enough of it to refuse it, and has not answered it. */
bool scn_request_awaits_answer(const scanside_session *handle, const struct request *request);

/* The record holds the answer. */
void scn_request_answer(struct request *request);
/* The last byte has been sent: from now on the slot is the server's. */
void scn_request_sent(struct request *request);

/* The connection has ended: nothing is to be sent, and whatever is in flight is lost. With
 * `answers`, so is what was answered and not taken. */
void scn_requests_lose(scanside_session *handle, bool answers);

/* Append a slot, or QUEUE_CONTROL. */
void scn_queue_add(scanside_session *handle, uint32_t what);
/* Take a slot out again; false where part of it has been sent. */
bool scn_queue_remove(scanside_session *handle, uint32_t slot);

#endif
