// Calls that Swift's Glibc module does not show. No state, no policy: each wraps one system call.
#ifndef CLINUX_H
#define CLINUX_H

// renameat2(2) with RENAME_NOREPLACE: fails with EEXIST instead of replacing. Returns 0, or -1 with errno.
int clinux_rename_noreplace(const char *from, const char *to);

// The f_type of statfs(2) for the file system that holds `path`, or -1 with errno.
long clinux_filesystem_type(const char *path);

// Bytes that an unprivileged process may still write to the file system that holds `path`, or -1 with errno.
long long clinux_free_bytes(const char *path);

// syncfs(2) for the file system that holds the folder `path`: everything written to it so far outlasts a power cut.
// Returns 0, or -1 with errno.
int clinux_sync_filesystem(const char *path);

// Seconds on CLOCK_BOOTTIME: goes on during suspend, never steps.
double clinux_boottime(void);

// Makes malloc use two heaps and map blocks from 128 KiB on by themselves, so that what is freed goes back to the
// system; glibc's own choice is a heap for each thread, and ever larger blocks inside them.
void clinux_keep_heap_small(void);

// Bytes that malloc has given out, in all heaps and by mapping, and that were not freed.
long long clinux_heap_in_use(void);

// Starts a program in a new session, in `directory`, with standard input empty, standard output and error going to
// `output`, every signal handled as usual and no other descriptor open. Returns its process id, or -errno.
int clinux_spawn_session(char *const argv[], char *const envp[], const char *directory, int output);

// Waits until a child has ended and leaves its exit status to be fetched, so that /proc still tells of it.
// Returns 0, or -1 with errno.
int clinux_await_end(int pid);

// Fetches the exit status of a child that has ended: `*code` is its exit code or -1, `*signal` the signal that ended it
// or 0. Returns 0, or -1 with errno.
int clinux_reap(int pid, int *code, int *signal, long long *peak_rss_bytes, double *cpu_seconds);

#endif
