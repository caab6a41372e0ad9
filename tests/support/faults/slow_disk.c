// Preloaded into a program to make each sync of a file take $SLOW_SYNC microseconds longer.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int slowly(int fd, const char *name) {
    int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    const char *said = getenv("SLOW_SYNC");
    if (!sync) abort();
    if (said) usleep((useconds_t)atoi(said));
    return sync(fd);
}

int fsync(int fd) { return slowly(fd, "fsync"); }
int fdatasync(int fd) { return slowly(fd, "fdatasync"); }
