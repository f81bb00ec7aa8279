/* Codes with their names, and the text of a thread's last failure. */
#ifndef SCANSIDE_ERRORS_H
#define SCANSIDE_ERRORS_H

#include <stdint.h>

enum { ERROR_TEXT = 1024 };

/* Keep the text for scanside_last_error; return `code`. */
__attribute__((format(printf, 2, 3))) int32_t scn_error(int32_t code, const char *format, ...);

/* The same with the words for an errno after it: SCANSIDE_ERROR_SYSTEM. */
int32_t scn_system_error(const char *what, int why);

#endif
