/* Loaded before libc by the gateway under test: the disk below one folder, as bad as the test wants it.
   The orders stand in a file that both have mapped. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct orders {
    int64_t full;      /* 1: a file grows only while `room` lasts */
    int64_t room;      /* bytes */
    int64_t read_only; /* 1: nothing is changed, made or removed */
    int64_t delay_ms;  /* of each fsync */
    int64_t broken;    /* 1: fsync fails */
    int64_t hung;      /* 1: nothing is opened, read, written, flushed or removed before it is 0 */
};

static volatile struct orders *orders;
static const char *root;
static size_t root_length;

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("FAULTS_ORDERS");
    root = getenv("FAULTS_ROOT");
    if (!file || !root) return;
    root_length = strlen(root);
    int fd = open(file, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *map = mmap(NULL, sizeof(struct orders), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED) orders = map;
}

static int quiet(void) {
    return !orders || !(orders->full || orders->read_only || orders->delay_ms || orders->broken || orders->hung);
}

static int below(const char *path) {
    return path && strncmp(path, root, root_length) == 0;
}

static int ours(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

/* As in a disk that does not respond: the caller is held until it does. */
static void hang(void) {
    struct timespec pause = {0, 10 * 1000000};
    while (orders && orders->hung) nanosleep(&pause, NULL);
}

static void hang_file(int fd) {
    if (orders && orders->hung && ours(fd)) hang();
}

static void hang_path(const char *path) {
    if (orders && orders->hung && below(path)) hang();
}

static int refuse(int error) {
    errno = error;
    return -1;
}

/* How many of the bytes fit; -1 with errno when none do. */
static ssize_t allow(int fd, size_t count, off_t at) {
    hang_file(fd);
    if (quiet() || count == 0 || !ours(fd)) return count;
    if (orders->read_only) return refuse(EROFS);
    if (!orders->full) return count;
    struct stat file;
    if (fstat(fd, &file) != 0 || !S_ISREG(file.st_mode)) return count;
    int64_t inside = file.st_size > at ? file.st_size - at : 0;
    int64_t grows = (int64_t)count - inside;
    if (grows <= 0) return count;
    int64_t room = orders->room > 0 ? orders->room : 0;
    int64_t taken = grows < room ? grows : room;
    __sync_fetch_and_sub(&orders->room, taken);
    int64_t fit = (inside < (int64_t)count ? inside : (int64_t)count) + taken;
    return fit > 0 ? fit : refuse(ENOSPC);
}

#define NEXT(name) static __typeof__(name) *next; if (!next) next = dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *bytes, size_t count) {
    NEXT(write);
    hang_file(fd);
    if (quiet()) return next(fd, bytes, count);
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t fit = allow(fd, count, at < 0 ? 0 : at);
    return fit < 0 ? fit : next(fd, bytes, fit);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    NEXT(pwrite);
    ssize_t fit = allow(fd, count, at);
    return fit < 0 ? fit : next(fd, bytes, fit, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    NEXT(pwrite64);
    ssize_t fit = allow(fd, count, at);
    return fit < 0 ? fit : next(fd, bytes, fit, at);
}

ssize_t read(int fd, void *bytes, size_t count) {
    NEXT(read);
    hang_file(fd);
    return next(fd, bytes, count);
}

static int flush(int fd) {
    hang_file(fd);
    if (quiet() || !ours(fd)) return 0;
    if (orders->delay_ms) {
        struct timespec pause = {orders->delay_ms / 1000, orders->delay_ms % 1000 * 1000000};
        nanosleep(&pause, NULL);
    }
    return orders->broken ? refuse(EIO) : 0;
}

int fsync(int fd) {
    NEXT(fsync);
    return flush(fd) < 0 ? -1 : next(fd);
}

int fdatasync(int fd) {
    NEXT(fdatasync);
    return flush(fd) < 0 ? -1 : next(fd);
}

int ftruncate(int fd, off_t length) {
    NEXT(ftruncate);
    if (!quiet() && orders->read_only && ours(fd)) return refuse(EROFS);
    return next(fd, length);
}

int ftruncate64(int fd, off64_t length) {
    NEXT(ftruncate64);
    if (!quiet() && orders->read_only && ours(fd)) return refuse(EROFS);
    return next(fd, length);
}

static int unwritable(const char *path, int flags) {
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
    return writes && !quiet() && orders->read_only && below(path);
}

#define MODE(flags, mode) \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }

int open(const char *path, int flags, ...) {
    NEXT(open);
    MODE(flags, mode)
    hang_path(path);
    return unwritable(path, flags) ? refuse(EROFS) : next(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    NEXT(open64);
    MODE(flags, mode)
    hang_path(path);
    return unwritable(path, flags) ? refuse(EROFS) : next(path, flags, mode);
}

int mkdir(const char *path, mode_t mode) {
    NEXT(mkdir);
    hang_path(path);
    return unwritable(path, O_CREAT) ? refuse(EROFS) : next(path, mode);
}

int unlink(const char *path) {
    NEXT(unlink);
    hang_path(path);
    return unwritable(path, O_CREAT) ? refuse(EROFS) : next(path);
}

int rename(const char *from, const char *to) {
    NEXT(rename);
    return unwritable(to, O_CREAT) ? refuse(EROFS) : next(from, to);
}
