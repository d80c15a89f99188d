// As many acts as the kernel allows, on all processors, for some seconds: `flood WAY SECONDS`. At its end it prints how many of
// each kind it did, so the test knows the truth.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { HEADERS = 40, CROWD = 8 };
struct counts { _Atomic uint64_t opens, renames, unlinks, forks; };
static struct counts *counts;
static double seconds;
static const char *way;

static void fail(const char *what) { perror(what); exit(1); }
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
static int is(const char *name) { return strcmp(way, name) == 0; }

static void pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    // Where that processor was taken away the task stays where it is.
    if (sched_setaffinity(0, sizeof set, &set) && errno != EINVAL) fail("sched_setaffinity");
}

static void touch(const char *name, int flags) {
    int fd = open(name, flags | O_CLOEXEC, 0644);
    if (fd < 0) fail(name);
    counts->opens++;
    close(fd);
}
static void header(unsigned number) {
    char name[32];
    snprintf(name, sizeof name, "header-%u", number % HEADERS);
    touch(name, O_RDONLY);
}
static void move(unsigned worker, uint64_t turn, int keep) {
    char one[64], two[64];
    snprintf(one, sizeof one, "part-%u-%llx", worker, (unsigned long long)(turn * 0x9e3779b97f4a7c15));
    snprintf(two, sizeof two, "done-%u-%llx", worker, (unsigned long long)(turn % 64));
    touch(one, O_WRONLY | O_CREAT);
    if (rename(one, two)) fail("rename");
    counts->renames++;
    if (keep) return;
    if (unlink(two)) fail("unlink");
    counts->unlinks++;
}
static void child(void (*act)(unsigned, uint64_t), unsigned worker, uint64_t turn) {
    pid_t pid = fork();
    if (pid < 0) fail("fork");
    if (pid == 0) {
        if (act) act(worker, turn);
        _exit(0);
    }
    counts->forks++;
    while (waitpid(pid, 0, 0) < 0 && errno == EINTR) {}
}
static void datagram(int fd) {
    struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr = { htonl(INADDR_LOOPBACK) } };
    sendto(fd, "x", 1, MSG_DONTWAIT, (struct sockaddr *)&peer, sizeof peer);
}

// A compiler: headers that all others read too, some of them twice, a temporary file, a product.
static void compile(unsigned worker, uint64_t turn) {
    for (unsigned at = 0; at < HEADERS + HEADERS / 4; at++) header(at);
    move(worker, turn, 1);
}

static void work(unsigned worker, unsigned cpus) {
    double end = now() + seconds;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (is("crowd") && worker % 3 == 0) {
        // Wakes up often, and takes the processor from whoever has it.
        struct sched_param urgent = { .sched_priority = 1 };
        sched_setscheduler(0, SCHED_RR, &urgent);
    }
    if (!is("hop")) pin((int)(worker % cpus));
    for (uint64_t turn = 0; now() < end; turn++) {
        if (is("build")) {
            child(compile, worker, turn);
            continue;
        }
        for (unsigned at = 0; at < 24; at++) header(at % 6);
        move(worker, turn, 0);
        if (turn % 16 == 0) datagram(fd);
        if (turn % 64 == 0) child(0, 0, 0);
        if (is("hop")) pin((int)((worker + turn) % cpus));
        if (is("crowd") && worker % 3 == 0) usleep(300);
    }
}

int main(int count, char **words) {
    if (count != 3) return 2;
    way = words[1], seconds = atof(words[2]);
    counts = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    unsigned cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN), workers = is("crowd") ? cpus * CROWD : cpus;
    for (unsigned at = 0; at < HEADERS; at++) {
        char name[32];
        snprintf(name, sizeof name, "header-%u", at);
        touch(name, O_RDWR | O_CREAT);
    }
    for (unsigned worker = 0; worker < workers; worker++) {
        pid_t pid = fork();
        if (pid < 0) fail("fork");
        if (pid == 0) {
            work(worker, cpus);
            _exit(0);
        }
        counts->forks++;
    }
    // The agent, which started this program, sleeps for half of it: awake it may be quick enough for any ring.
    if (is("starved")) {
        kill(getppid(), SIGSTOP);
        usleep((useconds_t)(seconds * 5e5));
        kill(getppid(), SIGCONT);
    }
    // The session's command ends in the midst of it.
    if (is("leave")) {
        usleep((useconds_t)(seconds * 5e5));
        return 0;
    }
    int status, failed = 0;
    while (wait(&status) > 0) failed |= status != 0;
    printf("%llu %llu %llu %llu\n", (unsigned long long)counts->opens, (unsigned long long)counts->renames,
           (unsigned long long)counts->unlinks, (unsigned long long)counts->forks);
    return failed;
}
