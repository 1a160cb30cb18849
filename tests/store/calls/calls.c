// SPDX-License-Identifier: Apache-2.0
// Preloaded into a program (ld.so(8): LD_PRELOAD), this records the order in which it makes files durable.
//
// FLUXGYM_TEST_UNDER is the folder whose files are recorded, as a path without links. FLUXGYM_TEST_CALLS is the file
// that gets one line per call: "write PATH", "fsync PATH", "ftruncate PATH" or "rename OLD NEW". The paths are
// relative to the folder, which is itself ".".

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

// The path relative to the folder, or NULL if it is outside.
static const char *below(const char *path) {
    const char *under = getenv("FLUXGYM_TEST_UNDER");
    size_t length = under ? strlen(under) : 0;
    if (!length || strncmp(path, under, length))
        return NULL;
    if (!path[length])
        return ".";
    return path[length] == '/' ? path + length + 1 : NULL;
}

static void note(const char *call, const char *path, const char *other) {
    char line[8192];
    const char *first = below(path), *second = other ? below(other) : "";
    if (!first || !second)
        return;
    int length = snprintf(line, sizeof line, "%s %s%s%s\n", call, first, *second ? " " : "", second);
    int file = open(getenv("FLUXGYM_TEST_CALLS"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0 || syscall(SYS_write, file, line, (size_t)length) != length)
        abort();
    close(file);
}

static void note_open(const char *call, int descriptor) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length > 0) {
        path[length] = '\0';
        note(call, path, NULL);
    }
}

ssize_t write(int descriptor, const void *data, size_t size) {
    note_open("write", descriptor);
    return NEXT(write)(descriptor, data, size);
}

int fsync(int descriptor) {
    note_open("fsync", descriptor);
    return NEXT(fsync)(descriptor);
}

int ftruncate64(int descriptor, off64_t length) {
    note_open("ftruncate", descriptor);
    return NEXT(ftruncate64)(descriptor, length);
}

int rename(const char *old, const char *new) {
    note("rename", old, new);
    return NEXT(rename)(old, new);
}
