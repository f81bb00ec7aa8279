/* What the server sends, held against what was asked, and kept. */
#ifndef SCANSIDE_ANSWERS_H
#define SCANSIDE_ANSWERS_H

#include "handle.h"

/* Take bytes as they came, the lock held. NULL, or what is wrong with them: then the stream has
 * lost its place and the connection is to be ended. Touches neither socket nor process. */
const char *scn_answers_take(scanside_session *handle, const uint8_t *data, size_t size);

#endif
