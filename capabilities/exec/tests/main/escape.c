// What a program that wants out tries: each argument is one attempt, answered by a line "attempt: errno" or "attempt: ok".
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static long connect_unix(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return fd < 0 ? -1 : connect(fd, (struct sockaddr *)&address, sizeof address);
}

static long connect_tcp(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return fd < 0 ? -1 : connect(fd, (struct sockaddr *)&address, sizeof address);
}

// The number of a call by the 32-bit entry, which a filter for x86-64 alone would read as another one.
static long entry_of_32_bits(void) {
#ifdef __x86_64__
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory");
    return result;
#else
    errno = ENOSYS;
    return -1;
#endif
}

static long read_daemon_memory(pid_t pid) {
    char there[8], here[8];
    struct iovec local = {here, sizeof here}, remote = {there, sizeof there};
    return process_vm_readv(pid, &local, 1, &remote, 1, 0);
}

static long clone_with(long flags) {
    long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) _exit(0);
    if (pid > 0) waitpid(pid, NULL, 0);
    return pid;
}

static long attempt(const char *what, const char *arg) {
    int pid = atoi(arg);
    struct timeval times[2] = {{1, 0}, {1, 0}};
    uint64_t clone_args[11] = {CLONE_NEWUSER};
#define IS(name) (!strcmp(what, name))
    if (IS("open-read")) return open(arg, O_RDONLY);
    if (IS("open-write")) return open(arg, O_WRONLY);
    if (IS("create")) return open(arg, O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (IS("list")) return open(arg, O_RDONLY | O_DIRECTORY);
    if (IS("stat")) { struct stat found; return stat(arg, &found); }
    if (IS("chmod")) return chmod(arg, 0777);
    if (IS("chown")) return chown(arg, 1, 1);
    if (IS("utime")) return utimes(arg, times);
    if (IS("setxattr")) return setxattr(arg, "user.canary", "1", 1, 0);
    if (IS("unlink")) return unlink(arg);
    if (IS("truncate")) return truncate(arg, 0);
    if (IS("link")) return link(arg, "/tmp/linked");
    if (IS("rename")) return rename(arg, "/tmp/renamed");
    if (IS("unix")) return connect_unix(arg);
    if (IS("unix-dgram")) return socket(AF_UNIX, SOCK_DGRAM, 0);
    if (IS("unix-pair-dgram")) { int pair[2]; return socketpair(AF_UNIX, SOCK_DGRAM, 0, pair); }
    if (IS("tcp")) return connect_tcp(pid);
    if (IS("udp")) return socket(AF_INET, SOCK_DGRAM, 0);
    if (IS("tcp6")) return socket(AF_INET6, SOCK_STREAM, 0);
    if (IS("raw")) return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
    if (IS("packet")) return socket(AF_PACKET, SOCK_RAW, 0);
    if (IS("netlink")) return socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    if (IS("vsock")) return socket(AF_VSOCK, SOCK_STREAM, 0);
    if (IS("alg")) return socket(AF_ALG, SOCK_SEQPACKET, 0);
    if (IS("ptrace")) return ptrace(PTRACE_ATTACH, pid, 0, 0);
    if (IS("traceme")) return ptrace(PTRACE_TRACEME, 0, 0, 0);
    if (IS("vm-read")) return read_daemon_memory(pid);
    if (IS("pidfd-getfd")) return syscall(SYS_pidfd_getfd, 0, 0, 0);
    if (IS("kill")) return kill(pid, SIGTERM);
    if (IS("tiocsti")) return ioctl(0, TIOCSTI, "x");
    if (IS("tioclinux")) { char paste = 3; return ioctl(0, TIOCLINUX, &paste); }
    // The kernel takes the number as 32 bits: the upper ones must not lead past the filter.
    if (IS("tiocsti-64")) return syscall(SYS_ioctl, 0, 0xffffffff00000000UL | TIOCSTI, "x");
    if (IS("unshare-user")) return unshare(CLONE_NEWUSER);
    if (IS("unshare-mount")) return unshare(CLONE_NEWNS);
    if (IS("clone-user")) return clone_with(CLONE_NEWUSER);
    if (IS("clone-pid")) return clone_with(CLONE_NEWPID);
    if (IS("clone3")) return syscall(SYS_clone3, clone_args, sizeof clone_args);
    if (IS("setns")) return setns(0, 0);
    if (IS("mount")) return mount("none", "/tmp", "tmpfs", 0, "");
    if (IS("umount")) return umount2("/tmp", MNT_DETACH);
    if (IS("chroot")) return chroot("/tmp");
    if (IS("open-tree")) return syscall(SYS_open_tree, AT_FDCWD, "/", 1);
    if (IS("pivot-root")) return syscall(SYS_pivot_root, ".", ".");
    if (IS("io-uring")) return syscall(SYS_io_uring_setup, 1, 0);
    if (IS("keyctl")) return syscall(SYS_keyctl, 0, -3, 0);
    if (IS("add-key")) return syscall(SYS_add_key, "user", "canary", "1", 1, -3);
    if (IS("bpf")) return syscall(SYS_bpf, 0, 0, 0);
    if (IS("perf")) return syscall(SYS_perf_event_open, 0, 0, -1, -1, 0);
    if (IS("userfaultfd")) return syscall(SYS_userfaultfd, 0);
    if (IS("handle")) return syscall(SYS_open_by_handle_at, AT_FDCWD, 0, 0);
    if (IS("fanotify")) return syscall(SYS_fanotify_init, 0, 0);
    if (IS("module")) return syscall(SYS_init_module, 0, 0, "");
    if (IS("kexec")) return syscall(SYS_kexec_load, 0, 0, 0, 0);
    if (IS("reboot")) return syscall(SYS_reboot, 0, 0, 0, 0);
    if (IS("swapon")) return syscall(SYS_swapon, "/tmp/x", 0);
    if (IS("settime")) return settimeofday(&times[0], NULL);
    if (IS("hostname")) return sethostname("canary", 6);
    if (IS("memfd-secret")) return syscall(SYS_memfd_secret, 0);
    if (IS("x32")) return syscall(0x40000000 + 39);
    if (IS("32-bit")) return entry_of_32_bits();
    if (IS("mknod")) return mknod("/tmp/null", S_IFCHR | 0666, 0x103);
    if (IS("setuid")) return setuid(pid);
    errno = ENOTSUP;
    return -1;
}

int main(int argc, char **argv) {
    for (int at = 1; at < argc; at++) {
        char *arg = strchr(argv[at], '=');
        if (arg) *arg++ = 0;
        errno = 0;
        long result = attempt(argv[at], arg ? arg : "");
        printf("%s: %s\n", argv[at], result < 0 ? strerrorname_np(errno) : "ok");
        fflush(stdout);
    }
}
