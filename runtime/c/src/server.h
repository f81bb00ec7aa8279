/* The server's life: started with HELLO and ATTACH, drained, killed. */
#ifndef SCANSIDE_SERVER_H
#define SCANSIDE_SERVER_H

#include "handle.h"

/* Start the server and shake hands; the state is STARTING, the lock held. A code of scanside.h;
 * with any but OK nothing is left of it. */
int32_t scn_server_start(scanside_session *handle);

/* End the process, now, and free what belongs to the connection. What was not taken is lost. */
void scn_server_discard(scanside_session *handle);

/* Ask it to answer what is in flight and to end, and wait for that. As scanside_close. */
int32_t scn_server_drain(scanside_session *handle, int64_t deadline);

#endif
