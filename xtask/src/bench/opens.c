// opens DIR FILES PASSES PROCESSES: each process opens and closes the files DIR/0/0 to DIR/N/M, a thousand to a folder,
// one after the other, as many times over as there are passes.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static int pass(const char *dir, long files) {
    char path[4096];
    for (long file = 0; file < files; file++) {
        snprintf(path, sizeof path, "%s/%ld/%ld", dir, file / 1000, file % 1000);
        int fd = open(path, O_RDONLY);
        if (fd < 0)
            return 1;
        close(fd);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 5)
        return 64;
    long files = atol(argv[2]), passes = atol(argv[3]), processes = atol(argv[4]);
    for (long process = 1; process < processes; process++)
        if (fork() == 0)
            break;
    for (long i = 0; i < passes; i++)
        if (pass(argv[1], files) != 0)
            return 1;
    int status, worst = 0;
    while (wait(&status) > 0)
        worst |= status;
    return worst != 0;
}
