#define _GNU_SOURCE
#include "CLinux.h"
#include <malloc.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int clinux_rename_noreplace(const char *from, const char *to) {
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
}

long clinux_filesystem_type(const char *path) {
    struct statfs s;
    return statfs(path, &s) == 0 ? (long)s.f_type : -1;
}

int clinux_sync_filesystem(const char *path) {
    int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return -1;
    int result = syncfs(descriptor);
    int number = errno;
    close(descriptor);
    errno = number;
    return result;
}

double clinux_boottime(void) {
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

long long clinux_free_bytes(const char *path) {
    struct statfs s;
    if (statfs(path, &s) != 0) return -1;
    return (long long)s.f_bavail * (long long)s.f_bsize;
}

int clinux_spawn_session(char *const argv[], char *const envp[], const char *directory, int output) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t all, none;
    pid_t pid = 0;
    sigfillset(&all);
    sigemptyset(&none);
    int error = posix_spawn_file_actions_init(&files);
    if (error) return -error;
    error = posix_spawnattr_init(&attributes);
    if (error) {
        posix_spawn_file_actions_destroy(&files);
        return -error;
    }
    if (!error) error = posix_spawn_file_actions_adddup2(&files, output, 1);
    if (!error) error = posix_spawn_file_actions_adddup2(&files, output, 2);
    if (!error) error = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    if (!error) error = posix_spawn_file_actions_addchdir_np(&files, directory);
    if (!error) error = posix_spawn_file_actions_addclosefrom_np(&files, 3);
    if (!error) error = posix_spawnattr_setsigdefault(&attributes, &all);
    if (!error) error = posix_spawnattr_setsigmask(&attributes, &none);
    if (!error)
        error = posix_spawnattr_setflags(
            &attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    if (!error) error = posix_spawn(&pid, argv[0], &files, &attributes, argv, envp);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return error ? -error : pid;
}

int clinux_await_end(int pid) {
    siginfo_t info;
    int status;
    do status = waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
    while (status != 0 && errno == EINTR);
    return status;
}

int clinux_reap(int pid, int *code, int *signal, long long *peak_rss_bytes, double *cpu_seconds) {
    struct rusage usage;
    int status;
    pid_t found;
    do found = wait4(pid, &status, 0, &usage);
    while (found < 0 && errno == EINTR);
    if (found < 0) return -1;
    *code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    *signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    *peak_rss_bytes = (long long)usage.ru_maxrss * 1024;
    *cpu_seconds = (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec
        + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
    return 0;
}

void clinux_keep_heap_small(void) {
    mallopt(M_ARENA_MAX, 2);
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
}

long long clinux_heap_in_use(void) {
    struct mallinfo2 info = mallinfo2();
    return (long long)info.uordblks + (long long)info.hblkhd;
}
