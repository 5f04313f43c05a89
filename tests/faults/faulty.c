// Preloaded into a process, it makes one of the process's changes to files below a folder fail, or the last thing it
// does. Changes are counted over all threads and libraries: files opened for writing, writes, fsync, renames, removals,
// folders made.
//
//   FAULT_FOLDER   the folder, absolute
//   FAULT_AT       the change that fails, from 1; 0 only counts
//   FAULT_KIND     kill: SIGKILL before it; tear: the same after half of it, where it is a write;
//                  a number: it fails with that errno, once; a number with +: so does every later one
//   FAULT_COUNT    a file that gets the number of changes when the process ends by itself (or calls faulty_tell)

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long changes;

static int inside(const char *path) {
    const char *folder = getenv("FAULT_FOLDER");
    size_t length = folder ? strlen(folder) : 0;
    return length && strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int inside_fd(int fd) {
    char name[64], path[PATH_MAX];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(name, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return inside(path);
}

static int inside_at(int folder, const char *path) {
    return path[0] == '/' || folder == AT_FDCWD ? inside(path) : inside_fd(folder);
}

// Counts a change; 0 to let it happen, 1 to tear it and end, -1 for it to fail with errno set.
static int due(int is_inside, int is_write) {
    if (!is_inside) return 0;
    long now = atomic_fetch_add(&changes, 1) + 1;
    const char *at = getenv("FAULT_AT"), *kind = getenv("FAULT_KIND");
    long when = at ? atol(at) : 0;
    if (!when || !kind || now < when) return 0;
    int number = atoi(kind);
    if (number) {
        if (now > when && !strchr(kind, '+')) return 0;
        errno = number;
        return -1;
    }
    if (now > when) return 0;
    if (is_write && strcmp(kind, "tear") == 0) return 1;
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static void torn(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

__attribute__((destructor)) void faulty_tell(void) {
    const char *path = getenv("FAULT_COUNT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    fprintf(file, "%ld\n", atomic_load(&changes));
    fclose(file);
}

#define NEXT(name) static __typeof__(name) *next; if (!next) next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define WRITING(flags) ((flags) & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC))
#define MODE(flags) mode_t mode = 0; if ((flags) & (O_CREAT | O_TMPFILE)) { va_list list; va_start(list, flags); mode = va_arg(list, mode_t); va_end(list); }

int open(const char *path, int flags, ...) { NEXT(open); MODE(flags); return due(WRITING(flags) && inside(path), 0) < 0 ? -1 : next(path, flags, mode); }
int open64(const char *path, int flags, ...) { NEXT(open64); MODE(flags); return due(WRITING(flags) && inside(path), 0) < 0 ? -1 : next(path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { NEXT(openat); MODE(flags); return due(WRITING(flags) && inside_at(at, path), 0) < 0 ? -1 : next(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { NEXT(openat64); MODE(flags); return due(WRITING(flags) && inside_at(at, path), 0) < 0 ? -1 : next(at, path, flags, mode); }
int rename(const char *a, const char *b) { NEXT(rename); return due(inside(a) || inside(b), 0) < 0 ? -1 : next(a, b); }
int renameat(int p, const char *a, int q, const char *b) { NEXT(renameat); return due(inside_at(p, a) || inside_at(q, b), 0) < 0 ? -1 : next(p, a, q, b); }
int renameat2(int p, const char *a, int q, const char *b, unsigned flags) { NEXT(renameat2); return due(inside_at(p, a) || inside_at(q, b), 0) < 0 ? -1 : next(p, a, q, b, flags); }
int link(const char *a, const char *b) { NEXT(link); return due(inside(a) || inside(b), 0) < 0 ? -1 : next(a, b); }
int linkat(int p, const char *a, int q, const char *b, int flags) { NEXT(linkat); return due(inside_at(p, a) || inside_at(q, b), 0) < 0 ? -1 : next(p, a, q, b, flags); }
int unlink(const char *path) { NEXT(unlink); return due(inside(path), 0) < 0 ? -1 : next(path); }
int unlinkat(int at, const char *path, int flags) { NEXT(unlinkat); return due(inside_at(at, path), 0) < 0 ? -1 : next(at, path, flags); }
int rmdir(const char *path) { NEXT(rmdir); return due(inside(path), 0) < 0 ? -1 : next(path); }
int mkdir(const char *path, mode_t mode) { NEXT(mkdir); return due(inside(path), 0) < 0 ? -1 : next(path, mode); }
int mkdirat(int at, const char *path, mode_t mode) { NEXT(mkdirat); return due(inside_at(at, path), 0) < 0 ? -1 : next(at, path, mode); }
int fsync(int fd) { NEXT(fsync); return due(inside_fd(fd), 0) < 0 ? -1 : next(fd); }
int fdatasync(int fd) { NEXT(fdatasync); return due(inside_fd(fd), 0) < 0 ? -1 : next(fd); }
int ftruncate(int fd, off_t length) { NEXT(ftruncate); return due(inside_fd(fd), 0) < 0 ? -1 : next(fd, length); }

ssize_t write(int fd, const void *data, size_t count) {
    NEXT(write);
    int fate = due(inside_fd(fd), 1);
    if (fate < 0) return -1;
    if (fate > 0) { next(fd, data, count / 2); torn(); }
    return next(fd, data, count);
}

ssize_t pwrite(int fd, const void *data, size_t count, off_t offset) {
    NEXT(pwrite);
    int fate = due(inside_fd(fd), 1);
    if (fate < 0) return -1;
    if (fate > 0) { next(fd, data, count / 2, offset); torn(); }
    return next(fd, data, count, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t count, off64_t offset) {
    NEXT(pwrite64);
    int fate = due(inside_fd(fd), 1);
    if (fate < 0) return -1;
    if (fate > 0) { next(fd, data, count / 2, offset); torn(); }
    return next(fd, data, count, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    NEXT(writev);
    int fate = due(inside_fd(fd), 1);
    if (fate < 0) return -1;
    if (fate > 0) { if (count) { struct iovec half = {parts[0].iov_base, parts[0].iov_len / 2}; next(fd, &half, 1); } torn(); }
    return next(fd, parts, count);
}
