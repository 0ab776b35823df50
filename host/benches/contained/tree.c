/* Becomes 1,000 processes which hold a pipe open, and waits. */
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

int main(int argc, char **argv) {
    int alive = open(argv[1], O_WRONLY);
    for (int i = 1; i < 1000; i++) {
        if (fork() == 0) {
            signal(SIGTERM, SIG_IGN);
            write(alive, "r", 1);
            for (;;) pause();
        }
    }
    write(alive, "r", 1);
    for (;;) pause();
}
