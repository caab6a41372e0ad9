// Preload this to record the disk operations of a program, and to make some of them fail.
//
// It appends every change and every sync of a file in the folder $DISK_FOLDER to the file
// $DISK_JOURNAL, in order. From the journal a test computes the possible contents of the disk after
// a power loss at any time. Syncs do nothing, unless $DISK_SYNCS is set; failed syncs are not
// recorded. Files ending in -shm are left out: SQLite rebuilds them and writes them through mmap.
//
// `disk_fault` makes the syncs or writes of files with a suffix fail. `disk_fault_at` makes the
// call of a number fail, counted from then on, and all later calls if `is_permanent`;
// $DISK_FAULT_AT does the same from the start ("NUMBER ERRNO IS_PERMANENT").
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, WRITE, TRUNCATE, SYNC, UNLINK, RENAME };
enum { FDS = 65536 };

struct record {
    uint32_t kind, length; // of the bytes that follow
    uint64_t offset, begun; // a sync covers the records before `begun`
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *folder;
static int journal = -1;
static uint64_t recorded;
static char *paths[FDS]; // of the files in the folder that are open
static char fault_call, fault_suffix[32];
static int fault_error;
static int real_syncs;
static long fault_at, calls;
static int is_fault_permanent, at_error;
static char failed_call;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

static void record_operation(int kind, const char *path, uint64_t offset, uint64_t begun,
                             const void *data, size_t length) {
    struct record record = {kind, (uint32_t)(strlen(path) + 1 + length), offset, begun};
    struct iovec parts[] = {
        {&record, sizeof record}, {(void *)path, strlen(path) + 1}, {(void *)data, length}};
    if (REAL(writev)(journal, parts, 3) != (ssize_t)(sizeof record + record.length)) abort();
    recorded++;
}

__attribute__((constructor)) static void start(void) {
    folder = getenv("DISK_FOLDER");
    const char *name = getenv("DISK_JOURNAL");
    if (!folder || !name) return;
    journal = REAL(open)(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (journal < 0) abort();
    real_syncs = getenv("DISK_SYNCS") != NULL;
    const char *fault = getenv("DISK_FAULT_AT");
    if (!fault) return;
    if (sscanf(fault, "%ld %d %d", &fault_at, &at_error, &is_fault_permanent) != 3) abort();
}

// Return the path relative to the folder ("" for the folder), or NULL for other files.
static const char *path_in_folder(const char *path) {
    if (journal < 0 || strncmp(path, folder, strlen(folder))) return NULL;
    const char *rest = path + strlen(folder);
    size_t length = strlen(rest);
    if (length && *rest++ != '/') return NULL;
    if (length > 4 && !strcmp(rest + strlen(rest) - 4, "-shm")) return NULL;
    return rest;
}

static int ends_in(const char *path, const char *suffix) {
    size_t all = strlen(path), end = strlen(suffix);
    return all >= end && !strcmp(path + all - end, suffix);
}

// Return whether this call must fail, with errno set.
static int fails(char call, const char *path) {
    calls++;
    if (fault_at && (is_fault_permanent ? calls >= fault_at : calls == fault_at)) {
        errno = at_error;
        failed_call = call;
        return 1;
    }
    if (call != fault_call || !ends_in(path, fault_suffix)) return 0;
    errno = fault_error;
    return 1;
}

// Make calls of a kind ('s' syncs, 'w' writes, 0 none) fail on paths with a suffix from now on.
void disk_fault(char call, const char *suffix, int error) {
    pthread_mutex_lock(&lock);
    strncpy(fault_suffix, suffix, sizeof fault_suffix - 1);
    fault_error = error;
    fault_call = call;
    pthread_mutex_unlock(&lock);
}

// Make the `at`th write or sync from now on fail (0: none), and all later ones if `is_permanent`.
void disk_fault_at(long at, int is_permanent, int error) {
    pthread_mutex_lock(&lock);
    fault_at = at;
    is_fault_permanent = is_permanent;
    at_error = error;
    calls = 0;
    pthread_mutex_unlock(&lock);
}

// Return the number of writes and syncs since then, and the kind of the last failed call.
long disk_calls(void) { return calls; }
char disk_failed(void) { return failed_call; }

static const char *path_of(int fd) { return fd >= 0 && fd < FDS ? paths[fd] : NULL; }

static int opened(int fd, const char *path, int flags) {
    if (fd < 0 || fd >= FDS) return fd;
    const char *name = path_in_folder(path);
    pthread_mutex_lock(&lock);
    free(paths[fd]);
    paths[fd] = name ? strdup(name) : NULL;
    if (name && flags & O_CREAT) record_operation(OPEN, name, 0, 0, "", 0);
    if (name && flags & O_TRUNC) record_operation(TRUNCATE, name, 0, 0, "", 0);
    pthread_mutex_unlock(&lock);
    return fd;
}

#define OPENER(name)                                                                    \
    int name(const char *path, int flags, ...) {                                        \
        va_list rest;                                                                   \
        va_start(rest, flags);                                                          \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;         \
        va_end(rest);                                                                   \
        return opened(REAL(name)(path, flags, mode), path, flags);                      \
    }
OPENER(open)
OPENER(open64)

#define OPENER_AT(name)                                                                 \
    int name(int at, const char *path, int flags, ...) {                                \
        va_list rest;                                                                   \
        va_start(rest, flags);                                                          \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;         \
        va_end(rest);                                                                   \
        return opened(REAL(name)(at, path, flags, mode), path, flags);                  \
    }
OPENER_AT(openat)
OPENER_AT(openat64)

int close(int fd) {
    pthread_mutex_lock(&lock);
    if (fd >= 0 && fd < FDS) {
        free(paths[fd]);
        paths[fd] = NULL;
    }
    pthread_mutex_unlock(&lock);
    return REAL(close)(fd);
}

static ssize_t write_file(int fd, const void *data, size_t length, off_t offset, int here) {
    const char *path = path_of(fd);
    if (!path)
        return here ? REAL(write)(fd, data, length) : REAL(pwrite)(fd, data, length, offset);
    pthread_mutex_lock(&lock);
    ssize_t done = -1;
    if (!fails('w', path)) {
        if (here) offset = lseek(fd, 0, fcntl(fd, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
        done = here ? REAL(write)(fd, data, length) : REAL(pwrite)(fd, data, length, offset);
        if (done > 0) record_operation(WRITE, path, offset, 0, data, done);
    }
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t write(int fd, const void *data, size_t length) {
    return write_file(fd, data, length, 0, 1);
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
    return write_file(fd, data, length, offset, 0);
}
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    return write_file(fd, data, length, offset, 0);
}

// The product does not use these calls; abort if it ever does, since they are not recorded.
#define UNSUPPORTED(type, name, types, values)                                           \
    type name types {                                                                   \
        if (path_of(fd)) abort();                                                       \
        return REAL(name) values;                                                       \
    }
UNSUPPORTED(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))
UNSUPPORTED(ssize_t, pwritev, (int fd, const struct iovec *parts, int count, off_t offset),
           (fd, parts, count, offset))
UNSUPPORTED(int, posix_fallocate, (int fd, off_t offset, off_t length), (fd, offset, length))
UNSUPPORTED(int, fallocate, (int fd, int mode, off_t offset, off_t length),
           (fd, mode, offset, length))

static int truncate_file(int fd, off_t length) {
    const char *path = path_of(fd);
    if (!path) return REAL(ftruncate)(fd, length);
    pthread_mutex_lock(&lock);
    int result = REAL(ftruncate)(fd, length);
    if (!result) record_operation(TRUNCATE, path, length, 0, "", 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate(int fd, off_t length) { return truncate_file(fd, length); }
int ftruncate64(int fd, off64_t length) { return truncate_file(fd, length); }

static int sync_file(int fd, int (*sync)(int)) {
    const char *path = path_of(fd);
    if (!path) return sync(fd);
    pthread_mutex_lock(&lock);
    uint64_t begun = recorded;
    int failed = fails('s', path);
    pthread_mutex_unlock(&lock);
    if (failed) return -1;
    if (!real_syncs)
        usleep(200);
    else if (sync(fd))
        return -1;
    pthread_mutex_lock(&lock);
    record_operation(SYNC, path, 0, begun, "", 0);
    pthread_mutex_unlock(&lock);
    return 0;
}

int fsync(int fd) { return sync_file(fd, REAL(fsync)); }
int fdatasync(int fd) { return sync_file(fd, REAL(fdatasync)); }

int unlink(const char *path) {
    const char *name = path_in_folder(path);
    if (!name) return REAL(unlink)(path);
    pthread_mutex_lock(&lock);
    int result = REAL(unlink)(path);
    if (!result) record_operation(UNLINK, name, 0, 0, "", 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int unlinkat(int at, const char *path, int flags) {
    if (path_in_folder(path)) abort();
    return REAL(unlinkat)(at, path, flags);
}

int rename(const char *from, const char *to) {
    const char *old = path_in_folder(from), *name = path_in_folder(to);
    if (!old && !name) return REAL(rename)(from, to);
    if (!old || !name) abort();
    pthread_mutex_lock(&lock);
    int result = REAL(rename)(from, to);
    if (!result) record_operation(RENAME, old, 0, 0, name, strlen(name) + 1);
    pthread_mutex_unlock(&lock);
    return result;
}
