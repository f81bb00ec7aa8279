/* What a host does and what may happen to it, each as a scenario of a name:
 *
 *     scenarios [--pipe] NAME EXECUTABLE [ARGUMENT...]
 *
 * The server is tests/support/fake_server.py. Exit code 0: all held. Built with sanitizers and run
 * under valgrind too, so that each scenario is also a test of memory and threads. */
#include <string.h>

#include "host.h"

int main(int count, char **words)
{
    if (count > 1 && strcmp(words[1], "--pipe") == 0) {
        in_pipe = true;
        count--;
        words++;
    }
    if (count < 3 || count > 12) {
        fprintf(stderr, "usage: scenarios [--pipe] NAME EXECUTABLE [ARGUMENT...]\n");
        return 2;
    }
    executable = words[2];
    for (int n = 3; n < count; n++)
        arguments[n - 3] = words[n];
    if (in_pipe)
        arguments[count - 3] = "--pipe";
    const struct scenario *const tables[] = {good_servers, bad_servers, hosts};
    for (size_t n = 0; n < sizeof tables / sizeof *tables; n++)
        for (const struct scenario *one = tables[n]; one->name != NULL; one++)
            if (strcmp(one->name, words[1]) == 0) {
                one->run();
                return 0;
            }
    fprintf(stderr, "no scenario is called %s\n", words[1]);
    return 2;
}
