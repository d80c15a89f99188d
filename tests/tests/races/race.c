// Writers against readers, a lane for each pair. Every version of a file is filled with its own number, so whoever reads it
// knows what was read. `race outside CONTROL DIR LANES ROUNDS SEED` writes and prints what it wrote to; `race inside …`
// reads, writes files of its own, and prints what it got; `race make …` makes the files before anybody looks.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 3, BYTES = PAGE * PAGES, WORDS = BYTES / 8, RUNS_MAX = 96, PARTIES = 3 };
enum { OUTSIDE, MAKER, READER };
#define FROM_OUTSIDE (1ull << 63)

// What happens to the file of a round. The first ones by a task outside, to a file that was there; from MADE_AND_WRITTEN on
// to a file that the session makes. tests/tests/races/truth.rs has the same list.
enum scenario {
    QUIET, REWRITE, EMPTY_AND_WRITE, TRUNCATE_BY_NAME, RENAME_OVER, MAP_CLOSED, MAP_OPEN, STALL, TIMES_BACK, TWICE, HARMLESS,
    CLONE, DIRECT,
    MADE_AND_WRITTEN, MADE_AND_REWRITTEN, MADE_AGAIN, MADE_BY_RENAME, MADE_AND_TRUNCATED, MADE_BY_OTHERS,
    SCENARIOS
};
// Scenarios by weight: every fourth file is quiet.
static const unsigned char weights[SCENARIOS] = { 10, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 3, 2, 1, 1, 2 };

struct record {
    uint32_t bytes, pid, lane, round;
    uint64_t before_ns, after_ns, ino;
    uint32_t runs, scenario;
    struct { uint64_t word, count; } run[RUNS_MAX];
};

static _Atomic uint32_t (*arrived)[PARTIES];
static const char *dir;
static unsigned lanes, rounds;
// Nobody outside truncates by a name: on the weakest hooks that ends what is known of a file within a tick.
static int calm;
static uint64_t seed, state;

static void fail(const char *what) { perror(what); exit(1); }

static uint64_t mixed(uint64_t x) {
    x += 0x9e3779b97f4a7c15; x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9; x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}
static unsigned chance(unsigned below) { return (unsigned)((state = mixed(state)) >> 33) % below; }

static uint64_t now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}
static void rest(uint64_t ns) {
    struct timespec t = { 0, (long)ns };
    nanosleep(&t, 0);
}
// Mostly next to nothing, sometimes longer than a tick, sometimes long enough for a hash to come between.
static void pause_a_while(void) {
    switch (chance(8)) {
    case 0: case 1: return;
    case 2: case 3: case 4:
        for (uint64_t until = now(CLOCK_MONOTONIC) + chance(60000); now(CLOCK_MONOTONIC) < until;) {}
        return;
    case 5: case 6: return rest(chance(2000000));
    default: rest(chance(15000000));
    }
}

static enum scenario scenario(unsigned lane, unsigned round) {
    unsigned sum = 0;
    for (unsigned s = 0; s < SCENARIOS; s++) sum += weights[s];
    unsigned at = (unsigned)(mixed(seed ^ (uint64_t)lane << 32 ^ round) >> 33) % sum;
    for (unsigned s = 0;; s++) {
        if (at < weights[s]) {
            if (calm && s == TRUNCATE_BY_NAME) return EMPTY_AND_WRITE;
            if (calm && s == MADE_AND_TRUNCATED) return MADE_AND_WRITTEN;
            return s;
        }
        at -= weights[s];
    }
}
static uint64_t word(unsigned lane, unsigned round, unsigned version, uint64_t from) {
    return from | (uint64_t)lane << 48 | (uint64_t)round << 16 | version;
}
static const char *name(unsigned lane, unsigned round, const char *suffix) {
    static _Thread_local char names[4][256];
    static _Thread_local unsigned next;
    char *path = names[next++ % 4];
    snprintf(path, sizeof names[0], "%s/%u-%u%s", dir, lane, round, suffix);
    return path;
}

static void meet(unsigned lane, unsigned party, uint32_t round) {
    atomic_store(&arrived[lane][party], round);
    syscall(SYS_futex, &arrived[lane][party], FUTEX_WAKE, 1 << 30, 0, 0, 0);
    for (unsigned other = 0; other < PARTIES; other++) {
        uint32_t seen;
        while ((seen = atomic_load(&arrived[lane][other])) < round) {
            struct timespec limit = { 0, 50000000 };
            syscall(SYS_futex, &arrived[lane][other], FUTEX_WAIT, seen, &limit, 0, 0);
        }
    }
}

// Not asking for the times: whoever has asked gets a finer one at the next change.
static uint64_t number(int fd) {
    struct statx s;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_INO, &s)) fail("statx");
    return s.stx_ino;
}
static void fill(uint64_t *page, uint64_t with) {
    for (unsigned i = 0; i < WORDS; i++) page[i] = with;
}

// Writes a version; the descriptor stays open.
static void put(int fd, uint64_t version, int in_parts) {
    static _Thread_local uint64_t pages[WORDS];
    fill(pages, version);
    if (!in_parts) {
        if (pwrite(fd, pages, BYTES, 0) != BYTES) fail("pwrite");
        return;
    }
    for (unsigned page = 0; page < PAGES; page++) {
        if (pwrite(fd, (char *)pages + page * PAGE, PAGE, page * PAGE) != PAGE) fail("pwrite");
        if (chance(3) == 0) pause_a_while();
    }
}
static int made(const char *path, uint64_t version) {
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) fail(path);
    put(fd, version, 0);
    return fd;
}

// A writer outside says which inode it opened for writing, or truncates by its name.
static void wrote(unsigned lane, unsigned round, uint64_t ino, int by_name) {
    char line[64];
    int bytes = snprintf(line, sizeof line, "%u %u %llu %d\n", lane, round, (unsigned long long)ino, by_name);
    if (write(1, line, (size_t)bytes) != bytes) fail("stdout");
}
static int opened(unsigned lane, unsigned round, int flags) {
    int fd = open(name(lane, round, ""), flags | O_CLOEXEC);
    if (fd < 0) fail("open to write");
    wrote(lane, round, number(fd), 0);
    return fd;
}

static void mapped(int fd, int close_first, uint64_t one, uint64_t two) {
    uint64_t *pages = mmap(0, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (pages == MAP_FAILED) fail("mmap");
    if (close_first) close(fd);
    pause_a_while();
    fill(pages, one);
    pause_a_while();
    fill(pages, two);
    if (chance(4) == 0) msync(pages, BYTES, MS_SYNC);
    if (chance(2)) pause_a_while();
    if (!close_first) close(fd);
    munmap(pages, BYTES);
}

static struct { int uffd; uint64_t *pages; _Atomic uint64_t with; uint64_t stall_ns; } stalling;
static void *resolve(void *unused) {
    static uint64_t page[PAGE / 8] __attribute__((aligned(4096)));
    (void)unused;
    for (;;) {
        struct uffd_msg message;
        struct pollfd wait = { stalling.uffd, POLLIN, 0 };
        poll(&wait, 1, -1);
        if (read(stalling.uffd, &message, sizeof message) != sizeof message) continue;
        uint64_t address = message.arg.pagefault.address & ~(uint64_t)(PAGE - 1);
        if (address != (uint64_t)stalling.pages) rest(stalling.stall_ns);
        for (unsigned i = 0; i < PAGE / 8; i++) page[i] = stalling.with;
        struct uffdio_copy copy = { address, (uint64_t)page, PAGE, 0, 0 };
        ioctl(stalling.uffd, UFFDIO_COPY, &copy);
    }
    return 0;
}
// The kernel takes the time of a write before it copies: the bytes come when we like.
static void prepare_stall(void) {
    stalling.uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (stalling.uffd < 0) fail("userfaultfd");
    struct uffdio_api api = { UFFD_API, 0, 0 };
    if (ioctl(stalling.uffd, UFFDIO_API, &api)) fail("UFFDIO_API");
    stalling.pages = mmap(0, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct uffdio_register area = { { (uint64_t)stalling.pages, BYTES }, UFFDIO_REGISTER_MODE_MISSING, 0 };
    if (ioctl(stalling.uffd, UFFDIO_REGISTER, &area)) fail("UFFDIO_REGISTER");
    pthread_t thread;
    if (pthread_create(&thread, 0, resolve, 0)) fail("thread");
}
static void stalled(int fd, uint64_t version) {
    stalling.with = version;
    stalling.stall_ns = chance(3) ? chance(3000000) : chance(20000000);
    for (size_t done = 0; done < BYTES;) {
        ssize_t bytes = pwrite(fd, (char *)stalling.pages + done, BYTES - done, (off_t)done);
        if (bytes <= 0) fail("stalled write");
        done += (size_t)bytes;
    }
    madvise(stalling.pages, BYTES, MADV_DONTNEED);
}

static void truncated(unsigned lane, unsigned round) {
    const char *path = name(lane, round, "");
    struct statx s;
    if (statx(AT_FDCWD, path, 0, STATX_INO, &s)) return;
    if (truncate(path, 0) == 0) {
        wrote(lane, round, s.stx_ino, 1);
        if (chance(2)) pause_a_while();
        truncate(path, BYTES);
    }
}

// To a file that the session is about to make: as soon as it is there.
static int caught(unsigned lane, unsigned round) {
    for (uint64_t until = now(CLOCK_MONOTONIC) + 3000000; now(CLOCK_MONOTONIC) < until;) {
        int fd = open(name(lane, round, ""), O_WRONLY | O_CLOEXEC);
        if (fd >= 0) {
            wrote(lane, round, number(fd), 0);
            return fd;
        }
    }
    return -1;
}

static void write_outside(unsigned lane, unsigned round) {
    uint64_t one = word(lane, round, 1, FROM_OUTSIDE), two = word(lane, round, 2, FROM_OUTSIDE);
    enum scenario what = scenario(lane, round);
    int fd = -1;
    if (what != MADE_AND_WRITTEN && what != MADE_AGAIN) pause_a_while();
    switch (what) {
    case REWRITE: put(fd = opened(lane, round, O_WRONLY), one, 1); break;
    case EMPTY_AND_WRITE: put(fd = opened(lane, round, O_WRONLY | O_TRUNC), one, chance(2)); break;
    case TRUNCATE_BY_NAME: case MADE_AND_TRUNCATED: truncated(lane, round); break;
    case RENAME_OVER:
        close(made(name(lane, round, ".new"), one));
        if (chance(2)) pause_a_while();
        if (rename(name(lane, round, ".new"), name(lane, round, ""))) fail("rename");
        break;
    case MAP_CLOSED: mapped(opened(lane, round, O_RDWR), 1, one, two); break;
    case MAP_OPEN: mapped(opened(lane, round, O_RDWR), 0, one, two); break;
    case STALL: stalled(fd = opened(lane, round, O_WRONLY), one); break;
    case TIMES_BACK: {
        fd = opened(lane, round, O_WRONLY);
        struct stat before;
        if (fstat(fd, &before)) fail("fstat");
        put(fd, one, chance(2));
        if (chance(2)) close(fd), fd = open(name(lane, round, ""), O_RDONLY | O_CLOEXEC);
        struct timespec times[2] = { before.st_atim, before.st_mtim };
        futimens(fd, times);
        break;
    }
    case TWICE:
        put(fd = opened(lane, round, O_WRONLY), one, 0);
        close(fd);
        if (chance(3) == 0) pause_a_while();
        put(fd = opened(lane, round, O_WRONLY), two, 0);
        break;
    case HARMLESS:
        chmod(name(lane, round, ""), 0600);
        if (link(name(lane, round, ""), name(lane, round, ".link")) == 0) unlink(name(lane, round, ".link"));
        break;
    case CLONE: {
        int from = made(name(lane, round, ".from"), one);
        close(from);
        from = open(name(lane, round, ".from"), O_RDONLY | O_CLOEXEC);
        fd = opened(lane, round, O_RDWR);
        if (ioctl(fd, FICLONE, from)) put(fd, one, 0);
        close(from);
        break;
    }
    case DIRECT: {
        static uint64_t pages[WORDS] __attribute__((aligned(4096)));
        fill(pages, one);
        fd = open(name(lane, round, ""), O_WRONLY | O_DIRECT | O_CLOEXEC);
        if (fd < 0) fd = opened(lane, round, O_WRONLY); else wrote(lane, round, number(fd), 0);
        if (pwrite(fd, pages, BYTES, 0) != BYTES) put(fd, one, 0);
        break;
    }
    case MADE_AND_WRITTEN: case MADE_AGAIN:
        if ((fd = caught(lane, round)) >= 0) {
            if (chance(2)) pause_a_while();
            put(fd, one, 0);
        }
        break;
    case MADE_BY_OTHERS: {
        // The session has removed its own: the next one has its inode number perhaps.
        for (uint64_t until = now(CLOCK_MONOTONIC) + 3000000; now(CLOCK_MONOTONIC) < until;) {
            if (access(name(lane, round, ".gone"), F_OK) == 0) break;
        }
        fd = open(name(lane, round, ""), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd >= 0) put(fd, one, 0);
        break;
    }
    default: break;
    }
    if (chance(4) == 0) pause_a_while();
    if (fd >= 0) close(fd);
}

// Opens, reads to the end, closes, and says what came.
static void read_once(unsigned lane, unsigned round) {
    static char part[PAGE];
    static struct record record;
    record.before_ns = now(CLOCK_BOOTTIME);
    int fd = open(name(lane, round, ""), O_RDONLY | O_CLOEXEC);
    record.after_ns = now(CLOCK_BOOTTIME);
    if (fd < 0) return;
    record.pid = (uint32_t)getpid(), record.lane = lane, record.round = round, record.scenario = scenario(lane, round);
    record.runs = 0;
    size_t kept = 0;
    for (;;) {
        if (chance(6) == 0) pause_a_while();
        ssize_t bytes = read(fd, part + kept, sizeof part - kept);
        if (bytes < 0) fail("read");
        kept += (size_t)bytes;
        for (size_t at = 0; at + 8 <= kept; at += 8) {
            uint64_t value;
            memcpy(&value, part + at, 8);
            if (record.runs && record.run[record.runs - 1].word == value) {
                record.run[record.runs - 1].count++;
            } else {
                if (record.runs == RUNS_MAX) fail("too many runs");
                record.run[record.runs].word = value, record.run[record.runs++].count = 1;
            }
        }
        memmove(part, part + kept / 8 * 8, kept % 8);
        kept %= 8;
        if (bytes == 0) break;
    }
    record.ino = number(fd);
    close(fd);
    record.bytes = (uint32_t)(offsetof(struct record, run) + record.runs * sizeof record.run[0]);
    if (write(1, &record, record.bytes) != record.bytes) fail("stdout");
}

// What the session does to a file of its own.
static void make_inside(unsigned lane, unsigned round, enum scenario what) {
    const char *path = name(lane, round, "");
    uint64_t one = word(lane, round, 1, 0), two = word(lane, round, 2, 0);
    if (what == MADE_BY_RENAME) {
        close(made(name(lane, round, ".new"), one));
        if (rename(name(lane, round, ".new"), path)) fail("rename");
        return;
    }
    int fd = made(path, one);
    if (chance(4) == 0) pause_a_while();
    close(fd);
    if (what == MADE_AND_WRITTEN || what == MADE_AND_TRUNCATED) return;
    if (chance(3)) read_once(lane, round);
    if (what == MADE_AGAIN || what == MADE_BY_OTHERS) {
        unlink(path);
        if (what == MADE_AGAIN) close(made(path, two));
        else close(open(name(lane, round, ".gone"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
        return;
    }
    switch (chance(4)) {
    case 0: put(fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC), two, 0); break;
    case 1: put(fd = open(path, O_WRONLY | O_CLOEXEC), two, 0); break;
    case 2: mapped(open(path, O_RDWR | O_CLOEXEC), chance(2), one, two); return;
    default:
        if (truncate(path, 0) || truncate(path, BYTES)) fail("truncate");
        return;
    }
    close(fd);
}

static void act_inside(unsigned lane, unsigned round, unsigned party) {
    enum scenario what = scenario(lane, round);
    if (party == MAKER && what >= MADE_AND_WRITTEN) make_inside(lane, round, what);
    unsigned reads = 1 + chance(3);
    for (unsigned i = 0; i < reads; i++) {
        if (i == 0 || chance(2)) pause_a_while();
        read_once(lane, round);
    }
    if (party == MAKER && what >= MADE_AND_WRITTEN && what != MADE_BY_OTHERS && chance(3) == 0) {
        unlink(name(lane, round, ""));
    }
}

static void run(unsigned lane, unsigned party) {
    // Whoever waits for one that has died is not waited for.
    alarm(600);
    state = mixed(seed ^ (uint64_t)lane << 8 ^ party);
    if (party == OUTSIDE) prepare_stall();
    for (unsigned round = 0; round < rounds; round++) {
        meet(lane, party, round + 1);
        if (party == OUTSIDE) write_outside(lane, round);
        else act_inside(lane, round, party);
    }
    exit(0);
}

int main(int count, char **words) {
    if (count != 7) return 2;
    int control = open(words[2], O_RDWR | O_CLOEXEC);
    dir = words[3], lanes = (unsigned)atoi(words[4]), rounds = (unsigned)atoi(words[5]);
    seed = mixed((uint64_t)atoll(words[6])), calm = atoll(words[6]) & 1;
    if (strcmp(words[1], "make") == 0) {
        for (unsigned lane = 0; lane < lanes; lane++)
            for (unsigned round = 0; round < rounds; round++)
                if (scenario(lane, round) < MADE_AND_WRITTEN)
                    close(made(name(lane, round, ""), word(lane, round, 0, FROM_OUTSIDE)));
        return 0;
    }
    arrived = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, control, 0);
    if (arrived == MAP_FAILED) fail("control");
    int inside = strcmp(words[1], "inside") == 0;
    for (unsigned lane = 0; lane < lanes; lane++) {
        for (unsigned party = inside ? MAKER : OUTSIDE; party <= (inside ? READER : OUTSIDE); party++) {
            pid_t child = fork();
            if (child < 0) fail("fork");
            if (child == 0) run(lane, party);
        }
    }
    int status, failed = 0;
    while (wait(&status) > 0) failed |= status != 0;
    return failed;
}
