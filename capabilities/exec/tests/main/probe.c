// What the tests run: the first argument says what to do.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

// Opens a FIFO for writing: its reader sees the end of the file once every process that holds it is dead.
static void hold(const char *fifo) {
    int fd = open(fifo, O_WRONLY);
    if (fd < 0 || write(fd, "r", 1) != 1) exit(99);
}

static void ignore_signals(void) {
    for (int signal_number = 1; signal_number < 32; signal_number++) signal(signal_number, SIG_IGN);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    const char *arg = argc > 2 ? argv[2] : "";
    if (!strcmp(what, "env")) {
        for (char **entry = environ; *entry; entry++) puts(*entry);
    } else if (!strcmp(what, "fds")) {
        DIR *dir = opendir("/proc/self/fd");
        for (struct dirent *entry; (entry = readdir(dir));)
            if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(dir)) puts(entry->d_name);
    } else if (!strcmp(what, "self")) {
        struct rlimit core;
        getrlimit(RLIMIT_CORE, &core);
        sigset_t blocked;
        sigprocmask(SIG_SETMASK, NULL, &blocked);
        int odd = 0;
        struct sigaction action;
        for (int n = 1; n < 32; n++)
            odd += sigismember(&blocked, n) == 1 || (sigaction(n, NULL, &action) == 0 && action.sa_handler != SIG_DFL);
        printf("pid=%d ppid=%d own_session=%d no_new_privs=%d core=%ld odd_signals=%d tty=%d\n", getpid(), getppid(),
               getsid(0) == 1, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), (long)core.rlim_max, odd,
               open("/dev/tty", O_RDWR) >= 0);
    } else if (!strcmp(what, "read")) {
        char text[64];
        int fd = open(arg, O_RDONLY);
        ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text);
        return length < 0 ? puts(strerrorname_np(errno)) < 0 : write(1, text, length) != length;
    } else if (!strcmp(what, "exit")) {
        return atoi(arg);
    } else if (!strcmp(what, "signal")) {
        kill(getpid(), atoi(arg));
        pause();
    } else if (!strcmp(what, "stubborn")) {
        ignore_signals();
        puts("begun");
        fflush(stdout);
        hold(arg);
        for (;;) pause();
    } else if (!strcmp(what, "stopped")) {
        hold(arg);
        kill(getpid(), SIGSTOP);
    } else if (!strcmp(what, "kill-init")) {
        kill(1, SIGKILL);
        kill(1, SIGSTOP);
        kill(-1, SIGTERM);
        puts("still here");
    } else if (!strcmp(what, "daemon") || !strcmp(what, "daemon-and-wait")) {
        int ready[2];
        char byte;
        if (pipe(ready)) return 98;
        if (fork() == 0) {
            setsid();
            if (fork() == 0) {
                ignore_signals();
                hold(arg);
                if (write(ready[1], "r", 1) != 1) return 97;
                for (;;) pause();
            }
            _exit(0);
        }
        close(ready[1]);
        if (read(ready[0], &byte, 1) != 1) return 96;
        if (!strcmp(what, "daemon-and-wait"))
            for (;;) pause();
    } else if (!strcmp(what, "flood")) {
        static char block[65536];
        memset(block, 'y', sizeof block);
        for (long left = atol(arg); left > 0; left -= sizeof block) {
            if (write(1, block, sizeof block) < 0 || write(2, block, sizeof block) < 0) return 1;
        }
    } else if (!strcmp(what, "bytes")) {
        return write(1, "a\0\xff\n", 4) != 4;
    } else if (!strcmp(what, "forks")) {
        int made = 0;
        pid_t pid;
        while (made < atoi(arg) && (pid = fork()) >= 0) {
            if (pid == 0) pause();
            made++;
        }
        printf("%d %s\n", made, made < atoi(arg) ? strerrorname_np(errno) : "all");
    } else if (!strcmp(what, "tree")) {
        // Each of them holds the FIFO, and is of a group and session of its own.
        hold(arg);
        for (int n = 1; n < 1000; n++)
            if (fork() == 0) {
                setsid();
                ignore_signals();
                for (;;) pause();
            }
        puts("all");
        fflush(stdout);
        for (;;) pause();
    } else if (!strcmp(what, "memory")) {
        long had = 0;
        char *block;
        for (; had < atol(arg) && (block = malloc(1 << 24)); had += 1 << 24) memset(block, 1, 1 << 24);
        printf("%ld %s\n", had, had < atol(arg) ? strerrorname_np(errno) : "all");
    } else if (!strcmp(what, "memory-of-many")) {
        // Each takes 32 MiB, which is less than one alone may have.
        for (int n = 0; n < atoi(arg); n++)
            if (fork() == 0) {
                memset(malloc(1 << 25), 1, 1 << 25);
                pause();
            }
        for (;;) pause();
    } else if (!strcmp(what, "files")) {
        int had = 0;
        while (had < atoi(arg) && open("/dev/null", O_RDONLY) >= 0) had++;
        printf("%d %s\n", had, had < atoi(arg) ? strerrorname_np(errno) : "all");
    } else if (!strcmp(what, "long-file")) {
        int fd = open("/tmp/long", O_WRONLY | O_CREAT, 0600);
        puts("begun");
        fflush(stdout);
        return pwrite(fd, "x", 1, atol(arg)) != 1;
    } else if (!strcmp(what, "spin")) {
        for (;;) {}
    } else if (!strcmp(what, "orphans")) {
        for (int n = 0; n < 200; n++)
            if (fork() == 0) {
                if (fork() == 0) _exit(0);
                _exit(0);
            }
        while (wait(NULL) > 0) {}
        puts("done");
    } else {
        return 95;
    }
    return 0;
}
