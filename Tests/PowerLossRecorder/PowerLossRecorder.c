// Records, in one total order over threads and processes, every change that programs make below a folder.
//
// Preloaded with LD_PRELOAD, it stands in front of the C library's functions that change a file system. Each change is
// made and then appended to a log while one lock is held, so that the order of the records is the order of the changes.
// Calls that go round these functions are not seen; the tests find such by comparing the replayed log with the folder.
//
//   LORAJOBS_RECORD_ROOT   the folder, as a real path
//   LORAJOBS_RECORD_LOG    the log, on any path outside of it
//
// Not recorded: permissions and times (no promise rests on them), memory maps (only SQLite's -shm, which it makes anew
// after a crash), and closing, which makes nothing durable.

#define _GNU_SOURCE
#include "PowerLossRecorder.h"
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

// The numbers are the log's; Recording.swift has them too.
enum {
    OP_OPEN = 1,   // text: path; a: flags; b: whether it was made; inode
    OP_WRITE,      // text: path; a: offset; data
    OP_TRUNCATE,   // a: length
    OP_RENAME,     // text: from; data: to
    OP_LINK,       // text: from; data: to
    OP_SYMLINK,    // text: the link; data: its content
    OP_UNLINK,     // text: path
    OP_MKDIR,      // text: path
    OP_SYNC,       // text: path; data: the callers, innermost first; a: 1 for fdatasync
    OP_SYNC_ALL,   // syncfs, sync
    OP_START,      // text: the command line
    OP_EXIT,       // text: the command line
    OP_UNKNOWN,    // text: what was done that cannot be replayed
};

typedef struct {
    uint32_t size;
    uint16_t operation;
    uint16_t reserved;
    uint32_t process;
    uint32_t text_length;
    uint32_t data_length;
    uint32_t reserved2;
    uint64_t inode;
    int64_t a;
    int64_t b;
} record;

static char root[PATH_MAX];
static size_t root_length;
static int log_descriptor = -1;
static pid_t owner;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static __thread int depth;

static int is_below_root(const char *path) {
    return strncmp(path, root, root_length) == 0 && (path[root_length] == '/' || path[root_length] == 0);
}

// A child between fork and exec shares the lock's descriptor and may not wait for threads it does not have.
static int is_recording(void) { return log_descriptor >= 0 && depth == 0 && getpid() == owner; }

static void append(int operation, uint64_t inode, int64_t a, int64_t b, const char *text, const void *data,
                   size_t length) {
    record head = {0};
    size_t text_length = text ? strlen(text) : 0;
    head.size = (uint32_t)(sizeof head + text_length + length);
    head.operation = (uint16_t)operation;
    head.process = (uint32_t)owner;
    head.text_length = (uint32_t)text_length;
    head.data_length = (uint32_t)length;
    head.inode = inode;
    head.a = a;
    head.b = b;
    struct iovec parts[3] = {{&head, sizeof head}, {(void *)text, text_length}, {(void *)data, length}};
    ssize_t written = syscall(SYS_writev, log_descriptor, parts, 3);
    if (written != (ssize_t)head.size) {
        // A log with a hole would prove nothing.
        static const char message[] = "PowerLossRecorder: cannot write the log\n";
        syscall(SYS_write, 2, message, sizeof message - 1);
        _exit(70);
    }
}

static void enter(void) {
    depth++;
    pthread_mutex_lock(&mutex);
    while (flock(log_descriptor, LOCK_EX) != 0 && errno == EINTR) {}
}

static void leave(int saved) {
    flock(log_descriptor, LOCK_UN);
    pthread_mutex_unlock(&mutex);
    depth--;
    errno = saved;
}

static void command_line(char *text, size_t size) {
    int file = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC, 0);
    ssize_t count = file < 0 ? 0 : syscall(SYS_read, file, text, size - 1);
    if (file >= 0) close(file);
    if (count < 0) count = 0;
    for (ssize_t i = 0; i + 1 < count; i++)
        if (text[i] == 0) text[i] = '\n';
    text[count] = 0;
}

__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("LORAJOBS_RECORD_ROOT"), *log = getenv("LORAJOBS_RECORD_LOG");
    if (!folder || !log || strlen(folder) >= sizeof root) return;
    strcpy(root, folder);
    root_length = strlen(root);
    int opened = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (opened < 0) {
        static const char message[] = "PowerLossRecorder: cannot open the log\n";
        syscall(SYS_write, 2, message, sizeof message - 1);
        _exit(70);
    }
    // Out of the way of programs that expect low numbers.
    int high = fcntl(opened, F_DUPFD_CLOEXEC, 500);
    if (high >= 0) {
        close(opened);
        opened = high;
    }
    owner = getpid();
    log_descriptor = opened;
    void *frames[1];
    backtrace(frames, 1);  // loads what it needs now, not inside the first fsync
    char text[4096];
    command_line(text, sizeof text);
    enter();
    append(OP_START, 0, 0, 0, text, NULL, 0);
    leave(errno);
}

__attribute__((destructor)) static void end(void) {
    if (!is_recording()) return;
    char text[4096];
    command_line(text, sizeof text);
    enter();
    append(OP_EXIT, 0, 0, 0, text, NULL, 0);
    leave(errno);
}

// MARK: Where a call goes

// The absolute path, symlinks of the folders resolved, that a name stands for; whether it lies below the root.
static int resolve(int folder, const char *path, char *full) {
    char joined[2 * PATH_MAX];
    if (!path || !*path) return 0;
    if (path[0] == '/') {
        if (strlen(path) >= PATH_MAX) return 0;
        strcpy(joined, path);
    } else {
        char base[PATH_MAX];
        if (folder == AT_FDCWD) {
            if (syscall(SYS_getcwd, base, sizeof base) < 0) return 0;
        } else {
            char link[64];
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            ssize_t count = readlink(link, base, sizeof base - 1);
            if (count < 0) return 0;
            base[count] = 0;
        }
        snprintf(joined, sizeof joined, "%s/%s", base, path);
    }
    size_t length = strlen(joined);
    while (length > 1 && joined[length - 1] == '/') joined[--length] = 0;
    char *slash = strrchr(joined, '/');
    char name[NAME_MAX + 1];
    if (strlen(slash + 1) > NAME_MAX) return 0;
    strcpy(name, slash + 1);
    slash[slash == joined ? 1 : 0] = 0;
    char parent[PATH_MAX];
    if (!realpath(joined, parent)) return 0;
    if (strlen(parent) + strlen(name) + 2 > PATH_MAX) return 0;
    size_t end = strlen(parent);
    strcpy(full, parent);
    if (parent[end - 1] != '/') full[end++] = '/';
    strcpy(full + end, name);
    return is_below_root(full);
}

// The path of an open file, if it lies below the root.
static int path_of(int descriptor, char *path, struct stat *status) {
    if (fstat(descriptor, status) != 0) return 0;
    if (!S_ISREG(status->st_mode) && !S_ISDIR(status->st_mode)) return 0;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t count = readlink(link, path, PATH_MAX - 1);
    if (count < 0) return 0;
    path[count] = 0;
    return is_below_root(path);
}

// MARK: Opening

static int record_open(int folder, const char *path, int flags, mode_t mode) {
    char full[PATH_MAX];
    int changes = flags & (O_CREAT | O_TRUNC) || (flags & O_TMPFILE) == O_TMPFILE;
    if (!changes || !is_recording() || !resolve(folder, path, full))
        return (int)syscall(SYS_openat, folder, path, flags, mode);
    enter();
    struct stat status;
    int existed = lstat(full, &status) == 0;
    int opened = (int)syscall(SYS_openat, folder, path, flags, mode);
    int saved = errno;
    if (opened >= 0) {
        if ((flags & O_TMPFILE) == O_TMPFILE) {
            append(OP_UNKNOWN, 0, 0, 0, "O_TMPFILE", NULL, 0);
        } else if (fstat(opened, &status) == 0 && S_ISREG(status.st_mode)) {
            append(OP_OPEN, status.st_ino, flags & O_TRUNC ? 1 : 0, !existed, full, NULL, 0);
        }
    }
    leave(saved);
    return opened;
}

static mode_t mode_argument(int flags, va_list list) {
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? (mode_t)va_arg(list, int) : 0;
}

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                       \
        va_list list;                                                                                                  \
        va_start(list, flags);                                                                                         \
        mode_t mode = mode_argument(flags, list);                                                                      \
        va_end(list);                                                                                                  \
        return record_open(AT_FDCWD, path, flags, mode);                                                               \
    }
#define OPENAT(name)                                                                                                   \
    int name(int folder, const char *path, int flags, ...) {                                                           \
        va_list list;                                                                                                  \
        va_start(list, flags);                                                                                         \
        mode_t mode = mode_argument(flags, list);                                                                      \
        va_end(list);                                                                                                  \
        return record_open(folder, path, flags, mode);                                                                 \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

int creat(const char *path, mode_t mode) { return record_open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return record_open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode); }

// The library makes these files inside itself; the template tells where.
static int record_made(int opened, const char *path) {
    char full[PATH_MAX];
    struct stat status;
    if (opened >= 0 && resolve(AT_FDCWD, path, full) && fstat(opened, &status) == 0)
        append(OP_OPEN, status.st_ino, 0, 1, full, NULL, 0);
    return opened;
}

#define MAKE_TEMPORARY(name, parameters, arguments)                                                                    \
    int name parameters {                                                                                              \
        int(*real) parameters = (int(*) parameters)dlsym(RTLD_NEXT, #name);                                            \
        if (!is_recording()) return real arguments;                                                                    \
        enter();                                                                                                       \
        int opened = record_made(real arguments, path);                                                                \
        leave(errno);                                                                                                  \
        return opened;                                                                                                 \
    }
MAKE_TEMPORARY(mkstemp, (char *path), (path))
MAKE_TEMPORARY(mkstemp64, (char *path), (path))
MAKE_TEMPORARY(mkostemp, (char *path, int flags), (path, flags))
MAKE_TEMPORARY(mkostemp64, (char *path, int flags), (path, flags))
MAKE_TEMPORARY(mkstemps, (char *path, int suffix), (path, suffix))
MAKE_TEMPORARY(mkostemps, (char *path, int suffix, int flags), (path, suffix, flags))

char *mkdtemp(char *path) {
    char *(*real)(char *) = (char *(*)(char *))dlsym(RTLD_NEXT, "mkdtemp");
    if (!is_recording()) return real(path);
    enter();
    char full[PATH_MAX];
    char *made = real(path);
    int saved = errno;
    if (made && resolve(AT_FDCWD, path, full)) append(OP_MKDIR, 0, 0, 0, full, NULL, 0);
    leave(saved);
    return made;
}

// What a stream writes does not pass through this library, so it is refused to go unnoticed.
static FILE *record_stream(const char *name, const char *path, const char *mode) {
    FILE *(*real)(const char *, const char *) = (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, name);
    char full[PATH_MAX];
    if (is_recording() && (strpbrk(mode, "wa+")) && resolve(AT_FDCWD, path, full)) {
        enter();
        append(OP_UNKNOWN, 0, 0, 0, full, name, strlen(name));
        leave(errno);
    }
    return real(path, mode);
}
FILE *fopen(const char *path, const char *mode) { return record_stream("fopen", path, mode); }
FILE *fopen64(const char *path, const char *mode) { return record_stream("fopen64", path, mode); }

// MARK: Writing

// `offset` is -1 when the call moved the file's own position.
static void record_write(int descriptor, const char *path, const struct stat *status, off_t offset,
                         const struct iovec *parts, int count, ssize_t written) {
    int flags = fcntl(descriptor, F_GETFL);
    if (flags & O_APPEND) {
        struct stat now;
        offset = fstat(descriptor, &now) == 0 ? now.st_size - written : 0;
    } else if (offset < 0) {
        offset = lseek(descriptor, 0, SEEK_CUR) - written;
    }
    for (int i = 0; i < count && written > 0; i++) {
        size_t length = parts[i].iov_len < (size_t)written ? parts[i].iov_len : (size_t)written;
        if (length == 0) continue;
        append(OP_WRITE, status->st_ino, offset, 0, path, parts[i].iov_base, length);
        offset += (off_t)length;
        written -= (ssize_t)length;
    }
}

#define WRITE(call, offset, parts, count)                                                                              \
    char path[PATH_MAX];                                                                                               \
    struct stat status;                                                                                                \
    if (!is_recording() || !path_of(descriptor, path, &status)) return call;                                           \
    enter();                                                                                                           \
    ssize_t written = call;                                                                                            \
    int saved = errno;                                                                                                 \
    if (written > 0) record_write(descriptor, path, &status, offset, parts, count, written);                           \
    leave(saved);                                                                                                      \
    return written;

ssize_t write(int descriptor, const void *bytes, size_t length) {
    struct iovec part = {(void *)bytes, length};
    WRITE(syscall(SYS_write, descriptor, bytes, length), -1, &part, 1)
}
ssize_t pwrite(int descriptor, const void *bytes, size_t length, off_t offset) {
    struct iovec part = {(void *)bytes, length};
    WRITE(syscall(SYS_pwrite64, descriptor, bytes, length, offset), offset, &part, 1)
}
ssize_t pwrite64(int descriptor, const void *bytes, size_t length, off64_t offset) {
    struct iovec part = {(void *)bytes, length};
    WRITE(syscall(SYS_pwrite64, descriptor, bytes, length, offset), offset, &part, 1)
}
ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    WRITE(syscall(SYS_writev, descriptor, parts, count), -1, parts, count)
}
ssize_t pwritev(int descriptor, const struct iovec *parts, int count, off_t offset) {
    WRITE(syscall(SYS_pwritev, descriptor, parts, count, offset, 0), offset, parts, count)
}
ssize_t pwritev64(int descriptor, const struct iovec *parts, int count, off64_t offset) {
    WRITE(syscall(SYS_pwritev, descriptor, parts, count, offset, 0), offset, parts, count)
}

static int record_truncate(int descriptor, off64_t length) {
    char path[PATH_MAX];
    struct stat status;
    if (!is_recording() || !path_of(descriptor, path, &status))
        return (int)syscall(SYS_ftruncate, descriptor, length);
    enter();
    int result = (int)syscall(SYS_ftruncate, descriptor, length);
    int saved = errno;
    if (result == 0) append(OP_TRUNCATE, status.st_ino, length, 0, path, NULL, 0);
    leave(saved);
    return result;
}
int ftruncate(int descriptor, off_t length) { return record_truncate(descriptor, length); }
int ftruncate64(int descriptor, off64_t length) { return record_truncate(descriptor, length); }

static int record_truncate_path(const char *path, off64_t length) {
    char full[PATH_MAX];
    if (!is_recording() || !resolve(AT_FDCWD, path, full)) return (int)syscall(SYS_truncate, path, length);
    enter();
    struct stat status;
    int result = (int)syscall(SYS_truncate, path, length);
    int saved = errno;
    if (result == 0 && stat(full, &status) == 0) append(OP_TRUNCATE, status.st_ino, length, 0, full, NULL, 0);
    leave(saved);
    return result;
}
int truncate(const char *path, off_t length) { return record_truncate_path(path, length); }
int truncate64(const char *path, off64_t length) { return record_truncate_path(path, length); }

// Space given beforehand makes a file longer, as far as a reader can tell.
static int record_allocate(int descriptor, int mode, off64_t offset, off64_t length) {
    char path[PATH_MAX];
    struct stat status;
    if (!is_recording() || !path_of(descriptor, path, &status))
        return (int)syscall(SYS_fallocate, descriptor, mode, offset, length);
    enter();
    int result = (int)syscall(SYS_fallocate, descriptor, mode, offset, length);
    int saved = errno;
    if (result == 0) {
        struct stat now;
        if (mode != 0 && mode != 1) append(OP_UNKNOWN, 0, 0, 0, "fallocate", NULL, 0);
        if (fstat(descriptor, &now) == 0 && now.st_size > status.st_size)
            append(OP_TRUNCATE, status.st_ino, now.st_size, 0, path, NULL, 0);
    }
    leave(saved);
    return result;
}
int fallocate(int descriptor, int mode, off_t offset, off_t length) {
    return record_allocate(descriptor, mode, offset, length);
}
int fallocate64(int descriptor, int mode, off64_t offset, off64_t length) {
    return record_allocate(descriptor, mode, offset, length);
}
int posix_fallocate(int descriptor, off_t offset, off_t length) {
    return record_allocate(descriptor, 0, offset, length) == 0 ? 0 : errno;
}
int posix_fallocate64(int descriptor, off64_t offset, off64_t length) {
    return record_allocate(descriptor, 0, offset, length) == 0 ? 0 : errno;
}

// Copies inside the kernel are refused, so that callers read and write; sendfile, which Foundation copies files with and
// does not go round, is read and written here.
static int refuses(int descriptor) {
    char path[PATH_MAX];
    struct stat status;
    return is_recording() && path_of(descriptor, path, &status);
}
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t length, unsigned int flags) {
    if (refuses(out)) {
        errno = EXDEV;
        return -1;
    }
    return syscall(SYS_copy_file_range, in, from, out, to, length, flags);
}
ssize_t sendfile(int out, int in, off_t *offset, size_t count) {
    if (!refuses(out)) return syscall(SYS_sendfile, out, in, offset, count);
    char bytes[1 << 16];
    size_t length = count < sizeof bytes ? count : sizeof bytes;
    ssize_t got = offset ? syscall(SYS_pread64, in, bytes, length, *offset) : syscall(SYS_read, in, bytes, length);
    if (got <= 0) return got;
    ssize_t put = write(out, bytes, (size_t)got);
    if (put > 0 && offset) *offset += put;
    if (put >= 0 && put < got && !offset) lseek(in, put - got, SEEK_CUR);
    return put;
}
ssize_t sendfile64(int out, int in, off64_t *offset, size_t count) { return sendfile(out, in, offset, count); }
ssize_t splice(int in, off64_t *from, int out, off64_t *to, size_t length, unsigned int flags) {
    if (refuses(out)) {
        errno = EINVAL;
        return -1;
    }
    return syscall(SYS_splice, in, from, out, to, length, flags);
}

// MARK: Names

static int record_rename(int from_folder, const char *from, int to_folder, const char *to, unsigned int flags) {
    char source[PATH_MAX], target[PATH_MAX];
    if (!is_recording()) return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
    int is_source = resolve(from_folder, from, source), is_target = resolve(to_folder, to, target);
    if (!is_source && !is_target) return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
    enter();
    int result = (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
    int saved = errno;
    if (result == 0) {
        if (is_source && is_target && !(flags & RENAME_EXCHANGE))
            append(OP_RENAME, 0, 0, 0, source, target, strlen(target));
        else
            append(OP_UNKNOWN, 0, 0, 0, "a rename across the root, or an exchange", NULL, 0);
    }
    leave(saved);
    return result;
}
int rename(const char *from, const char *to) { return record_rename(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return record_rename(a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned int flags) {
    return record_rename(a, from, b, to, flags);
}

static int record_link(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    char source[PATH_MAX], target[PATH_MAX];
    if (!is_recording() || !resolve(to_folder, to, target))
        return (int)syscall(SYS_linkat, from_folder, from, to_folder, to, flags);
    int is_source = resolve(from_folder, from, source);
    enter();
    int result = (int)syscall(SYS_linkat, from_folder, from, to_folder, to, flags);
    int saved = errno;
    if (result == 0) {
        if (is_source)
            append(OP_LINK, 0, 0, 0, source, target, strlen(target));
        else
            append(OP_UNKNOWN, 0, 0, 0, "a link across the root", NULL, 0);
    }
    leave(saved);
    return result;
}
int link(const char *from, const char *to) { return record_link(AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int a, const char *from, int b, const char *to, int flags) { return record_link(a, from, b, to, flags); }

static int record_symlink(const char *content, int folder, const char *path) {
    char full[PATH_MAX];
    if (!is_recording() || !resolve(folder, path, full)) return (int)syscall(SYS_symlinkat, content, folder, path);
    enter();
    int result = (int)syscall(SYS_symlinkat, content, folder, path);
    int saved = errno;
    if (result == 0) append(OP_SYMLINK, 0, 0, 0, full, content, strlen(content));
    leave(saved);
    return result;
}
int symlink(const char *content, const char *path) { return record_symlink(content, AT_FDCWD, path); }
int symlinkat(const char *content, int folder, const char *path) { return record_symlink(content, folder, path); }

static int record_unlink(int folder, const char *path, int flags) {
    char full[PATH_MAX];
    if (!is_recording() || !resolve(folder, path, full)) return (int)syscall(SYS_unlinkat, folder, path, flags);
    enter();
    int result = (int)syscall(SYS_unlinkat, folder, path, flags);
    int saved = errno;
    if (result == 0) append(OP_UNLINK, 0, 0, 0, full, NULL, 0);
    leave(saved);
    return result;
}
int unlink(const char *path) { return record_unlink(AT_FDCWD, path, 0); }
int unlinkat(int folder, const char *path, int flags) { return record_unlink(folder, path, flags); }
int rmdir(const char *path) { return record_unlink(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char *path) {
    int result = record_unlink(AT_FDCWD, path, 0);
    return result != 0 && errno == EISDIR ? record_unlink(AT_FDCWD, path, AT_REMOVEDIR) : result;
}

static int record_mkdir(int folder, const char *path, mode_t mode) {
    char full[PATH_MAX];
    if (!is_recording() || !resolve(folder, path, full)) return (int)syscall(SYS_mkdirat, folder, path, mode);
    enter();
    int result = (int)syscall(SYS_mkdirat, folder, path, mode);
    int saved = errno;
    if (result == 0) append(OP_MKDIR, 0, 0, 0, full, NULL, 0);
    leave(saved);
    return result;
}
int mkdir(const char *path, mode_t mode) { return record_mkdir(AT_FDCWD, path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) { return record_mkdir(folder, path, mode); }

// MARK: Syncing

// `module+offset` of the callers, so that one source line can be told from another.
static size_t callers(char *text, size_t size) {
    void *frames[12];
    int count = backtrace(frames, 12);
    size_t used = 0;
    for (int i = 2; i < count && used + 80 < size; i++) {
        Dl_info info;
        if (!dladdr(frames[i], &info) || !info.dli_fname) continue;
        const char *slash = strrchr(info.dli_fname, '/');
        used += (size_t)snprintf(text + used, size - used, "%s+%lx\n", slash ? slash + 1 : info.dli_fname,
                                 (unsigned long)((char *)frames[i] - (char *)info.dli_fbase));
    }
    return used;
}

static int record_sync(int descriptor, long call, int is_data_only) {
    char path[PATH_MAX];
    struct stat status;
    if (!is_recording() || !path_of(descriptor, path, &status)) return (int)syscall(call, descriptor);
    enter();
    int result = (int)syscall(call, descriptor);
    int saved = errno;
    if (result == 0) {
        char text[1200];
        append(OP_SYNC, status.st_ino, is_data_only, S_ISDIR(status.st_mode), path, text, callers(text, sizeof text));
    }
    leave(saved);
    return result;
}
int fsync(int descriptor) { return record_sync(descriptor, SYS_fsync, 0); }
int fdatasync(int descriptor) { return record_sync(descriptor, SYS_fdatasync, 1); }

int syncfs(int descriptor) {
    char path[PATH_MAX];
    struct stat status;
    if (!is_recording() || !path_of(descriptor, path, &status)) return (int)syscall(SYS_syncfs, descriptor);
    enter();
    int result = (int)syscall(SYS_syncfs, descriptor);
    int saved = errno;
    if (result == 0) {
        char text[1200];
        append(OP_SYNC_ALL, 0, 0, 0, path, text, callers(text, sizeof text));
    }
    leave(saved);
    return result;
}
void sync(void) {
    if (!is_recording()) {
        syscall(SYS_sync);
        return;
    }
    enter();
    syscall(SYS_sync);
    append(OP_SYNC_ALL, 0, 0, 0, "sync", NULL, 0);
    leave(errno);
}
