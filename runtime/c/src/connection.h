/* The socket and the log pipe: bytes out, bytes in, never blocking with the lock held. */
#ifndef SCANSIDE_CONNECTION_H
#define SCANSIDE_CONNECTION_H

#include "handle.h"

/* The monotonic time so many milliseconds from now, in nanoseconds. */
int64_t scn_deadline(uint32_t milliseconds);

/* Sleep until another thread changes something, or the deadline. The lock is held before and after.
 */
void scn_wait_changed(scanside_session *handle, int64_t deadline);
void scn_changed(scanside_session *handle);

/* Send what can be sent without waiting; whoever is pumping sends the rest. */
void scn_send(scanside_session *handle);

/* One turn at the connection: wait until something can be sent or received, or the deadline, and
 * do it; where another thread is at it, sleep until that one is done. The lock is held before and
 * after, and given up in between. */
void scn_pump(scanside_session *handle, int64_t deadline);

/* Wait for the one place that a question has, and give it an id: OK, TIMEOUT, DOWN. */
int32_t scn_control_take(scanside_session *handle, int64_t deadline);
/* Send the question, whose message has been written to its place. */
void scn_control_send(scanside_session *handle, uint16_t kind, size_t message_bytes);
/* Pump until it is answered: OK, TIMEOUT, LOST, or the server's code. */
int32_t scn_control_wait(scanside_session *handle, int64_t deadline);
/* Give the place up; where the answer is still to come, only once it has come. */
void scn_control_leave(scanside_session *handle);

/* No more: the descriptors are closed. */
void scn_connection_close(scanside_session *handle);

#endif
