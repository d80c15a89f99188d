// stopwatch FILE GATE COMMAND...: runs a command and writes its wall time and CPU time (nanoseconds) and the largest
// resident set (KiB) of it and its children to FILE. With a GATE other than "-", makes FILE.ready and starts when GATE
// exists. SIGINT and SIGTERM go to the command. Ends as the command did.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pid_t child;

static void forward(int signal) {
    if (child > 0)
        kill(child, signal);
}

static long long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static long long time_ns(struct timeval time) {
    return time.tv_sec * 1000000000LL + time.tv_usec * 1000LL;
}

static int wait_for_gate(const char *file, const char *gate) {
    char ready[4096];
    snprintf(ready, sizeof ready, "%s.ready", file);
    FILE *mark = fopen(ready, "w");
    if (!mark)
        return -1;
    fclose(mark);
    while (access(gate, F_OK) != 0)
        usleep(1000);
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 4)
        return 64;
    if (strcmp(argv[2], "-") != 0 && wait_for_gate(argv[1], argv[2]) != 0)
        return 125;
    struct sigaction action = {.sa_handler = forward, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    long long start = now_ns();
    child = fork();
    if (child < 0)
        return 125;
    if (child == 0) {
        execvp(argv[3], argv + 3);
        _exit(127);
    }
    int status;
    while (waitpid(child, &status, 0) < 0)
        ;
    long long end = now_ns();
    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
    FILE *out = fopen(argv[1], "w");
    if (!out)
        return 125;
    fprintf(out, "%lld %lld %ld\n", end - start, time_ns(usage.ru_utime) + time_ns(usage.ru_stime), usage.ru_maxrss);
    fclose(out);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
