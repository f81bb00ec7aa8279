#define _POSIX_C_SOURCE 200809L /* strerror_r that returns an int */
#include "errors.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "scanside.h"

static __thread char last_error[ERROR_TEXT];

int32_t scn_error(int32_t code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(last_error, sizeof last_error, format, arguments);
    va_end(arguments);
    return code;
}

int32_t scn_system_error(const char *what, int why)
{
    char words[128];
    if (strerror_r(why, words, sizeof words) != 0) /* POSIX's, not glibc's own */
        snprintf(words, sizeof words, "errno %d", why);
    return scn_error(SCANSIDE_ERROR_SYSTEM, "%s: %s", what, words);
}

const char *scanside_last_error(void) { return last_error; }

const char *scanside_strerror(int32_t code)
{
    switch (code) {
#define NAME(code)                                                                                 \
    case code:                                                                                     \
        return #code;
        NAME(SCANSIDE_OK)
        NAME(SCANSIDE_ERROR_USAGE)
        NAME(SCANSIDE_ERROR_INPUT)
        NAME(SCANSIDE_ERROR_BUNDLE)
        NAME(SCANSIDE_ERROR_PARITY)
        NAME(SCANSIDE_ERROR_BACKEND)
        NAME(SCANSIDE_ERROR_OUTPUT)
        NAME(SCANSIDE_ERROR_INTERNAL)
        NAME(SCANSIDE_ERROR_ARGUMENT)
        NAME(SCANSIDE_ERROR_TIMEOUT)
        NAME(SCANSIDE_ERROR_LOST)
        NAME(SCANSIDE_ERROR_DOWN)
        NAME(SCANSIDE_ERROR_START)
        NAME(SCANSIDE_ERROR_VERSION)
        NAME(SCANSIDE_ERROR_SYSTEM)
        NAME(SCANSIDE_ERROR_BUFFER)
#undef NAME
    default:
        return "a code that this version of the library does not know";
    }
}

uint32_t scanside_version(void)
{
    return SCANSIDE_VERSION_MAJOR * 10000 + SCANSIDE_VERSION_MINOR * 100 + SCANSIDE_VERSION_PATCH;
}
