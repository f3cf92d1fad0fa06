/* main.c - the explorer as a program: explore [SCENARIO] | --hunt SCENARIO */
#include "explore.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--hunt") == 0)
        return vx_hunt(argv[2]) ? 0 : 1;
    if (argc > 2) {
        fprintf(stderr, "usage: %s [SCENARIO] | --hunt SCENARIO\n", argv[0]);
        return 64;
    }
    return vx_explore(argc == 2 ? argv[1] : NULL) ? 0 : 1;
}
