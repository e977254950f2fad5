// Faults of a disk for one process, which loads this library with LD_PRELOAD. FAULTY_DISK is a file: its first byte is the
// fault, the rest is the prefix of the paths that have it.
//
//   '-' none   'f' full   'e' I/O errors   'r' read-only   's' each sync takes a second   'm' missing
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static volatile const char *control;

#define REAL(name, type, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULTY_DISK");
    if (!path) return;
    REAL("open", int, const char *, int, ...);
    int fd = real(path, O_RDONLY);
    if (fd < 0) return;
    void *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED) control = page;
    close(fd);
}

static char fault_of(const char *path) {
    if (!control || *control == '-') return '-';
    const char *prefix = (const char *)control + 1;
    return strncmp(path, prefix, strlen(prefix)) == 0 ? *control : '-';
}

static char fault_of_fd(int fd) {
    if (!control || *control == '-') return '-';
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return '-';
    path[length] = 0;
    return fault_of(path);
}

static int write_error(char fault) {
    switch (fault) {
        case 'f': return ENOSPC;
        case 'e': return EIO;
        case 'r': return EROFS;
        default: return 0;
    }
}

#define FAIL_WRITES(fd) do { int code = write_error(fault_of_fd(fd)); if (code) { errno = code; return -1; } } while (0)

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL("write", ssize_t, int, const void *, size_t);
    FAIL_WRITES(fd);
    return real(fd, bytes, count);
}

ssize_t writev(int fd, const struct iovec *vectors, int count) {
    REAL("writev", ssize_t, int, const struct iovec *, int);
    FAIL_WRITES(fd);
    return real(fd, vectors, count);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    REAL("pwrite", ssize_t, int, const void *, size_t, off_t);
    FAIL_WRITES(fd);
    return real(fd, bytes, count, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    REAL("pwrite64", ssize_t, int, const void *, size_t, off64_t);
    FAIL_WRITES(fd);
    return real(fd, bytes, count, at);
}

ssize_t read(int fd, void *bytes, size_t count) {
    REAL("read", ssize_t, int, void *, size_t);
    if (fault_of_fd(fd) == 'e') { errno = EIO; return -1; }
    return real(fd, bytes, count);
}

ssize_t pread64(int fd, void *bytes, size_t count, off64_t at) {
    REAL("pread64", ssize_t, int, void *, size_t, off64_t);
    if (fault_of_fd(fd) == 'e') { errno = EIO; return -1; }
    return real(fd, bytes, count, at);
}

int ftruncate(int fd, off_t length) {
    REAL("ftruncate", int, int, off_t);
    char fault = fault_of_fd(fd);
    if (fault == 'e' || fault == 'r') { errno = write_error(fault); return -1; }
    return real(fd, length);
}

int ftruncate64(int fd, off64_t length) {
    REAL("ftruncate64", int, int, off64_t);
    char fault = fault_of_fd(fd);
    if (fault == 'e' || fault == 'r') { errno = write_error(fault); return -1; }
    return real(fd, length);
}

static int sync_fault(int fd) {
    char fault = fault_of_fd(fd);
    if (fault == 's') sleep(1);
    if (fault == 'e') { errno = EIO; return -1; }
    return 0;
}

int fsync(int fd) {
    REAL("fsync", int, int);
    return sync_fault(fd) ? -1 : real(fd);
}

int fdatasync(int fd) {
    REAL("fdatasync", int, int);
    return sync_fault(fd) ? -1 : real(fd);
}

static int open_error(const char *path, int flags) {
    char fault = fault_of(path);
    if (fault == 'm') return ENOENT;
    if (fault == 'r' && (flags & (O_WRONLY | O_RDWR | O_CREAT))) return access(path, F_OK) && !(flags & O_CREAT) ? 0 : EROFS;
    if (fault == 'e') return EIO;
    return 0;
}

#define OPEN(name) \
int name(const char *path, int flags, ...) { \
    REAL(#name, int, const char *, int, ...); \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } \
    int code = open_error(path, flags); \
    if (code) { errno = code; return -1; } \
    return real(path, flags, mode); \
}
OPEN(open)
OPEN(open64)

int unlink(const char *path) {
    REAL("unlink", int, const char *);
    if (fault_of(path) == 'r') { errno = EROFS; return -1; }
    return real(path);
}

int rename(const char *from, const char *to) {
    REAL("rename", int, const char *, const char *);
    if (fault_of(from) == 'r') { errno = EROFS; return -1; }
    return real(from, to);
}

int mkdir(const char *path, mode_t mode) {
    REAL("mkdir", int, const char *, mode_t);
    if (fault_of(path) == 'r') { errno = EROFS; return -1; }
    return real(path, mode);
}
