/* What a `command:` shares with other workers (docs/resources.md), for C and C++: the descriptors of
 * its `uses:`, memory regions, mutexes that tell when their last owner has died, semaphores whose
 * permits come back, the latest value of topics, and queues `by:` pipe, socket or mqueue.
 *
 * Header only, for glibc on Linux with GCC or Clang (link with -lrt before glibc 2.34). Layout:
 * version 2 of the segments, which `srs_open` checks. Queues in shared memory (`by: ring`) are not
 * for C: `supervisord-rs resource send` and `receive` have them. What has a name of POSIX is opened
 * by that (`srs_posix_name`), with sem_open(3), shm_open(3) and mq_open(3).
 *
 *     struct srs_memory door, ledger;
 *     if (srs_open("door", SRS_MUTEX, &door) || srs_open("ledger", SRS_REGION, &ledger)) ...
 *     switch (srs_lock(&door)) {
 *     case SRS_OWNER_DIED: repair(ledger.bytes); srs_repaired(&door); break;
 *     case SRS_POISONED: return 1;
 *     case SRS_CLEAN: break;
 *     }
 *     srs_begin_change(&door);
 *     ...                              // the next owner learns of a death here
 *     srs_end_change(&door);
 *     srs_unlock(&door);
 */
#ifndef SUPERVISORD_RS_H
#define SUPERVISORD_RS_H

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum srs_kind { SRS_REGION = 1, SRS_MUTEX = 2, SRS_SEMAPHORE = 3, SRS_QUEUE = 6, SRS_TOPIC = 7 };

/* What srs_lock got. */
enum srs_locked {
    SRS_CLEAN = 0,      /* The data are as the last owner left them on purpose. */
    SRS_OWNER_DIED = 1, /* It died with the mutex, or within a change: mend the data, srs_repaired. */
    SRS_POISONED = 2,   /* An owner died, and no owner has mended the data. It is not locked. */
    SRS_FAILED = -1     /* errno says why. It is not locked. ECANCELED: an owner died, and all users
                         * are restarted. */
};

/* A resource, mapped; it stays so until the process ends. */
struct srs_memory {
    unsigned char *base;
    size_t size;          /* Of the whole. */
    unsigned char *bytes; /* Of a region: its first byte. */
    size_t length;        /* Of a region: how many there are; of a semaphore: its permits; of a
                           * topic: bytes of the longest value. */
};

#define SRS_PAGE 4096u
#define SRS_POISON (UINT64_C(1) << 63)
#define SRS_UNTOLD (UINT64_C(1) << 62)

#define SRS_MARK UINT64_C(0x53564d5554455802) /* "SVMUTEX", 2 */
#define SRS_PAUSE_MIN 250000 /* Nanoseconds: one that waits looks again after that, at first. */
#define SRS_PAUSE_MAX 50000000

/* An owner: the number of a thread from bit 42 on, flags, and when it began, in clock ticks. */
#define SRS_ID_SHIFT 42
#define SRS_ELSEWHERE (UINT64_C(1) << 41) /* In other namespaces than the maker of the resource. */
#define SRS_PROCESS (UINT64_C(1) << 40)
#define SRS_FALLEN (UINT64_C(1) << 39) /* It is known to be dead. */
#define SRS_START (SRS_PROCESS - 1)

/* The words of a mutex, behind the header. */
struct srs_mutex {
    uint64_t word;    /* 0, or its owner. */
    uint64_t version; /* Odd: being changed. */
    uint64_t mark;
    uint32_t sequence, announced, found_none; /* Of those that sleep. */
    uint32_t recoveries;
    uint64_t holds;
    uint64_t fallen; /* The owner that died last. */
};

/* The descriptor of a resource in `uses:`; -1: there is none of this name. */
static inline int srs_fd(const char *name) {
    const char *list = getenv("SUPERVISORD_RS_RESOURCES");
    size_t length = strlen(name);
    while (list && *list) {
        if (strncmp(list, name, length) == 0 && list[length] == '=')
            return atoi(list + length + 1);
        list = strchr(list, ' ');
        if (list) list++;
    }
    return -1;
}

/* Maps it. 0: done; -1: errno is ENOENT (not in `uses:`), EINVAL (another kind, or of another
 * version), or that of fstat(2) and mmap(2). */
static inline int srs_open(const char *name, enum srs_kind kind, struct srs_memory *memory) {
    struct stat status;
    uint64_t words[4];
    void *base;
    int fd = srs_fd(name);
    if (fd < 0) { errno = ENOENT; return -1; }
    if (fstat(fd, &status)) return -1;
    if (status.st_size < (off_t)(SRS_PAGE + sizeof(struct srs_mutex))) {
        errno = EINVAL;
        return -1;
    }
    base = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) return -1;
    memcpy(words, base, sizeof words);
    if (words[0] != UINT64_C(0x5356534841524502) /* "SVSHARE", 2 */ ||
        words[1] != (uint64_t)kind || words[2] != (uint64_t)status.st_size) {
        munmap(base, (size_t)status.st_size);
        errno = EINVAL;
        return -1;
    }
    memory->base = (unsigned char *)base;
    memory->size = (size_t)status.st_size;
    memory->bytes = kind == SRS_REGION ? memory->base + 2 * SRS_PAGE : NULL;
    memory->length = kind == SRS_MUTEX ? 0 : (size_t)words[3];
    return 0;
}

/* The name of POSIX of a resource in `uses:`. 0: done; -1: it has none, or it does not fit. */
static inline int srs_posix_name(const char *name, char *into, size_t size) {
    const char *list = getenv("SUPERVISORD_RS_POSIX_NAMES");
    size_t length = strlen(name);
    while (list && *list) {
        const char *end = strchr(list, ' ');
        size_t whole = end ? (size_t)(end - list) : strlen(list);
        if (whole > length && strncmp(list, name, length) == 0 && list[length] == '=') {
            if (whole - length > size) break;
            memcpy(into, list + length + 1, whole - length - 1);
            into[whole - length - 1] = 0;
            return 0;
        }
        list = end ? end + 1 : NULL;
    }
    errno = ENOENT;
    return -1;
}

static inline struct srs_mutex *srs_words(const struct srs_memory *door) {
    return (struct srs_mutex *)(void *)(door->base + SRS_PAGE);
}

/* Of proc_pid_stat(5): when it began; 0: it is dead, or cannot be read (then *is_known is 0). */
static inline uint64_t srs_start(const char *path, int is_process, int *is_known) {
    char text[1024], state;
    const char *fields;
    unsigned long long start;
    long threads;
    ssize_t length;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    *is_known = 0;
    if (file < 0) return 0;
    length = read(file, text, sizeof text - 1);
    close(file);
    if (length <= 0) return 0;
    text[length] = 0;
    fields = strrchr(text, ')'); /* The name may have spaces and brackets. */
    if (!fields || sscanf(fields + 1, " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s"
                          " %*s %*s %ld %*s %llu", &state, &threads, &start) != 3)
        return 0;
    *is_known = 1;
    if ((state == 'Z' || state == 'X') && (!is_process || threads <= 1)) return 0;
    return start & SRS_START;
}

/* The namespaces of this process, as the header has those of the maker. */
static inline uint64_t srs_namespaces(void) {
    struct stat pid, time;
    if (stat("/proc/self/ns/pid", &pid)) pid.st_ino = 0;
    if (stat("/proc/self/ns/time", &time)) time.st_ino = 0;
    return (uint64_t)pid.st_ino << 32 ^ (uint64_t)time.st_ino;
}

static inline int srs_is_native(const struct srs_memory *door) {
    uint64_t words[7];
    memcpy(words, door->base, sizeof words);
    return words[6] == srs_namespaces();
}

/* This thread, as an owner; 0: /proc is not there. */
static inline uint64_t srs_self(const struct srs_memory *door) {
    static __thread uint64_t self;
    static __thread pid_t process; /* A child after fork(2) is another thread. */
    static __thread const unsigned char *base;
    if (process != getpid() || base != door->base) {
        int is_known;
        uint64_t start = srs_start("/proc/thread-self/stat", 0, &is_known);
        if (!is_known) return 0;
        self = (uint64_t)syscall(SYS_gettid) << SRS_ID_SHIFT | start |
               (srs_is_native(door) ? 0 : SRS_ELSEWHERE);
        process = getpid();
        base = door->base;
    }
    return self;
}

/* Whether an owner is known to be dead. Reads a file where its number is in use. */
static inline int srs_is_dead(const struct srs_memory *door, uint64_t owner) {
    char path[64];
    int is_known;
    uint64_t start;
    ssize_t length;
    pid_t id = (pid_t)(owner >> SRS_ID_SHIFT);
    if (id == 0 || (owner & SRS_FALLEN)) return 1;
    if ((owner & SRS_ELSEWHERE) || !srs_is_native(door)) return 0;
    if (getsid(id) == -1 && errno == ESRCH) return 1;
    /* /proc may be of another namespace: then it says nothing. */
    length = readlink("/proc/self", path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    if (atol(path) != (long)getpid()) return 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)id);
    start = srs_start(path, (owner & SRS_PROCESS) != 0, &is_known);
    return is_known && start != (owner & SRS_START);
}

static inline int srs_take(struct srs_mutex *mutex, uint64_t from, uint64_t self) {
    return __atomic_compare_exchange_n(&mutex->word, &from, self, 0, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED);
}

/* Waits until it is this thread's. The owner that died with it; 0: none did. */
static inline uint64_t srs_wait(const struct srs_memory *door, uint64_t self) {
    struct srs_mutex *mutex = srs_words(door);
    struct timespec pause = { 0, SRS_PAUSE_MIN };
    long long waited = 0;
    for (;;) {
        uint64_t owner;
        uint32_t ticket = __atomic_load_n(&mutex->sequence, __ATOMIC_ACQUIRE);
        __atomic_fetch_add(&mutex->announced, 1, __ATOMIC_ACQ_REL);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        owner = __atomic_load_n(&mutex->word, __ATOMIC_ACQUIRE);
        if (owner == 0) {
            if (srs_take(mutex, 0, self)) return 0;
            continue;
        }
        if (srs_is_dead(door, owner) && srs_take(mutex, owner, self)) return owner & ~SRS_FALLEN;
        if (syscall(SYS_futex, &mutex->sequence, FUTEX_WAIT, ticket, &pause, NULL, 0) == -1 &&
            errno == ETIMEDOUT) {
            /* An eighth of the time so far: what a death costs is little beside that. */
            waited += pause.tv_nsec;
            pause.tv_nsec = waited / 8 < SRS_PAUSE_MIN   ? SRS_PAUSE_MIN
                            : waited / 8 > SRS_PAUSE_MAX ? SRS_PAUSE_MAX
                                                         : (long)(waited / 8);
        }
    }
}

/* Does nothing where this thread has it no more: it was taken for dead, and another one has it. */
static inline void srs_unlock(const struct srs_memory *door) {
    struct srs_mutex *mutex = srs_words(door);
    uint64_t self = srs_self(door);
    uint32_t count;
    if (!__atomic_compare_exchange_n(&mutex->word, &self, 0, 0, __ATOMIC_SEQ_CST,
                                     __ATOMIC_RELAXED))
        return;
    count = __atomic_load_n(&mutex->announced, __ATOMIC_SEQ_CST);
    if (count == __atomic_load_n(&mutex->found_none, __ATOMIC_RELAXED)) return;
    __atomic_fetch_add(&mutex->sequence, 1, __ATOMIC_ACQ_REL);
    if (syscall(SYS_futex, &mutex->sequence, FUTEX_WAKE, 1, NULL, NULL, 0) == 0)
        __atomic_store_n(&mutex->found_none, count, __ATOMIC_RELAXED);
}

/* What follows when an owner dies: `on_owner_death:` of the resource, in the header. */
enum srs_on_owner_death { SRS_REPAIR, SRS_POISON_IT, SRS_CONTINUE, SRS_RESTART_USERS };

static inline uint64_t srs_on_owner_death(const struct srs_memory *door) {
    return __atomic_load_n((uint64_t *)(void *)door->base + 7, __ATOMIC_RELAXED);
}

/* Waits for the mutex. SRS_OWNER_DIED is the answer for `on_owner_death: repair` alone. */
static inline enum srs_locked srs_lock(const struct srs_memory *door) {
    struct srs_mutex *mutex = srs_words(door);
    uint64_t self = srs_self(door), died = 0, version;
    if (self == 0) { errno = ENOENT; return SRS_FAILED; }
    if (mutex->mark != SRS_MARK) { errno = ENOTRECOVERABLE; return SRS_FAILED; }
    if (__atomic_load_n(&mutex->word, __ATOMIC_RELAXED) == self) {
        errno = EDEADLK;
        return SRS_FAILED;
    }
    if (!srs_take(mutex, 0, self)) died = srs_wait(door, self);
    __atomic_store_n(&mutex->holds, mutex->holds + 1, __ATOMIC_RELAXED);
    version = __atomic_load_n(&mutex->version, __ATOMIC_ACQUIRE);
    if (version & SRS_POISON) {
        srs_unlock(door);
        return SRS_POISONED;
    }
    if (died == 0 && !(version & (1 | SRS_UNTOLD))) return SRS_CLEAN;
    if (died || !(version & SRS_UNTOLD)) {
        __atomic_store_n(&mutex->fallen, died, __ATOMIC_RELEASE);
        __atomic_fetch_add(&mutex->recoveries, 1, __ATOMIC_RELEASE);
    }
    /* Until srs_repaired, the next one learns of the death of this owner too. */
    __atomic_store_n(&mutex->version, version | 1, __ATOMIC_RELAXED);
    switch (srs_on_owner_death(door)) {
    case SRS_POISON_IT:
        __atomic_store_n(&mutex->version, version | SRS_POISON, __ATOMIC_RELEASE);
        srs_unlock(door);
        return SRS_POISONED;
    case SRS_CONTINUE:
        __atomic_store_n(&mutex->version, ((version | 1) + 1) & ~SRS_UNTOLD, __ATOMIC_RELEASE);
        return SRS_CLEAN;
    case SRS_RESTART_USERS:
        __atomic_store_n(&mutex->version, version | SRS_UNTOLD, __ATOMIC_RELEASE);
        srs_unlock(door);
        errno = ECANCELED;
        return SRS_FAILED;
    default:
        return SRS_OWNER_DIED;
    }
}

/* The data are neither old nor new from here to srs_end_change. */
static inline void srs_begin_change(const struct srs_memory *door) {
    struct srs_mutex *mutex = srs_words(door);
    __atomic_store_n(&mutex->version, mutex->version | 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

static inline void srs_end_change(const struct srs_memory *door) {
    struct srs_mutex *mutex = srs_words(door);
    __atomic_store_n(&mutex->version, ((mutex->version | 1) + 1) &
                     ~(SRS_POISON | SRS_UNTOLD), __ATOMIC_RELEASE);
}

/* After SRS_OWNER_DIED: the data are whole again. */
static inline void srs_repaired(const struct srs_memory *door) { srs_end_change(door); }

/* Milliseconds of the clock that no one sets. */
static inline long long srs_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The words of a semaphore, behind the header. */
struct srs_event { uint32_t sequence, announced, found_none; };

static inline uint64_t *srs_places(const struct srs_memory *gate) {
    return (uint64_t *)(void *)(gate->base + SRS_PAGE + 64);
}

/* Waits for a permit, so many milliseconds at most; -1: as long as it takes. Returns its place, for
 * `srs_release` by the same thread; -1: errno is ETIMEDOUT, or ENOENT without /proc. A permit of a
 * thread that dies comes back. */
static inline int srs_acquire(const struct srs_memory *gate, int most) {
    struct srs_event *freed = (struct srs_event *)(void *)(gate->base + SRS_PAGE);
    uint64_t *places = srs_places(gate), holder = srs_self(gate);
    long long end = most < 0 ? -1 : srs_now() + most;
    if (!holder) { errno = ENOENT; return -1; }
    for (;;) {
        uint32_t ticket = 0;
        int round;
        for (round = 0; round < 2; round++) {
            size_t index;
            for (index = 0; index < gate->length; index++) {
                uint64_t vacant = 0;
                if (__atomic_compare_exchange_n(&places[index], &vacant, holder, 0,
                                                __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
                    return (int)index;
            }
            if (round) break;
            /* To look once more after this: a permit that is given back now wakes us. */
            ticket = __atomic_load_n(&freed->sequence, __ATOMIC_ACQUIRE);
            __atomic_fetch_add(&freed->announced, 1, __ATOMIC_ACQ_REL);
            __atomic_thread_fence(__ATOMIC_SEQ_CST);
        }
        long long left = end < 0 ? 50 : end - srs_now();
        if (left <= 0) { errno = ETIMEDOUT; return -1; }
        struct timespec slice = {0, (left < 50 ? left : 50) * 1000000};
        syscall(SYS_futex, &freed->sequence, FUTEX_WAIT, ticket, &slice, NULL, 0);
    }
}

/* Gives a permit back. */
static inline void srs_release(const struct srs_memory *gate, int place) {
    struct srs_event *freed = (struct srs_event *)(void *)(gate->base + SRS_PAGE);
    uint64_t holder = srs_self(gate);
    uint32_t count;
    __atomic_compare_exchange_n(&srs_places(gate)[place], &holder, 0, 0, __ATOMIC_ACQ_REL,
                                __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    count = __atomic_load_n(&freed->announced, __ATOMIC_ACQUIRE);
    if (count == __atomic_load_n(&freed->found_none, __ATOMIC_RELAXED)) return;
    __atomic_fetch_add(&freed->sequence, 1, __ATOMIC_ACQ_REL);
    if (syscall(SYS_futex, &freed->sequence, FUTEX_WAKE, 1, NULL, NULL, 0) == 0)
        __atomic_store_n(&freed->found_none, count, __ATOMIC_RELAXED);
}

/* Notes that this thread has a message of a queue `by:` pipe, socket or mqueue, or a permit of a
 * semaphore `by: posix`, opened with `srs_open`: only the incident of its death depends on that, which
 * then says that it was lost. Returns the place of the note, for `srs_forget` by the same thread; -1:
 * there is none. A death before this is in no incident. */
static inline int srs_note(const struct srs_memory *memory) {
    uint64_t words[2], holder = srs_self(memory), *places;
    size_t count, index;
    memcpy(words, memory->base, sizeof words);
    if (!holder || (words[1] != SRS_QUEUE && words[1] != SRS_SEMAPHORE)) return -1;
    places = words[1] == SRS_QUEUE ? (uint64_t *)(void *)(memory->base + SRS_PAGE / 4)
                                   : srs_places(memory);
    count = words[1] == SRS_QUEUE ? SRS_PAGE / 4 / sizeof *places : memory->length;
    for (index = 0; index < count; index++) {
        uint64_t vacant = 0;
        if (__atomic_compare_exchange_n(&places[index], &vacant, holder, 0, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED))
            return (int)index;
    }
    return -1;
}

/* It has it no more: the message is done, or the permit given back. */
static inline void srs_forget(const struct srs_memory *memory, int place) {
    uint64_t words[2], holder = srs_self(memory), *places;
    if (place < 0) return;
    memcpy(words, memory->base, sizeof words);
    places = words[1] == SRS_QUEUE ? (uint64_t *)(void *)(memory->base + SRS_PAGE / 4)
                                   : srs_places(memory);
    __atomic_compare_exchange_n(&places[place], &holder, 0, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* Copies the latest value of a topic, or as much of it as fits. Returns its length; -1: errno is
 * ENODATA (there is none yet) or EAGAIN (new ones come faster than one can be copied). `number`, if
 * it is not NULL, gets how many there were. Never waits. */
static inline long srs_read_topic(const struct srs_memory *topic, void *into, size_t size,
                                  uint64_t *number) {
    size_t stride = (16 + topic->length + 63) / 64 * 64;
    const unsigned char *slots = topic->base + topic->size - 8 * stride;
    const uint64_t *latest = (const uint64_t *)(const void *)(topic->base + SRS_PAGE);
    int attempt;
    for (attempt = 0; attempt < 1000; attempt++) {
        uint64_t last = __atomic_load_n(latest, __ATOMIC_ACQUIRE);
        const unsigned char *slot = slots + last % 8 * stride;
        const uint64_t *mark = (const uint64_t *)(const void *)slot;
        size_t length, part;
        if (last == 0) { errno = ENODATA; return -1; }
        if (__atomic_load_n(mark, __ATOMIC_ACQUIRE) != last << 1) continue;
        length = __atomic_load_n((const uint32_t *)(const void *)(slot + 8), __ATOMIC_RELAXED);
        if (length > topic->length) length = topic->length;
        part = length < size ? length : size;
        memcpy(into, slot + 16, part);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (__atomic_load_n(mark, __ATOMIC_RELAXED) != last << 1) continue;
        if (number) *number = last;
        return (long)length;
    }
    errno = EAGAIN;
    return -1;
}

/* An end of a queue that a pipe, a socket or a message queue carries: "take" or "send". */
static inline int srs_end(const char *queue, const char *end) {
    char name[128];
    int length = snprintf(name, sizeof name, "%s.%s", queue, end);
    int fd = length > 0 && (size_t)length < sizeof name ? srs_fd(name) : -1;
    if (fd < 0) errno = ENOENT;
    return fd;
}

static inline int srs_wait_for(int fd, short events, long long end) {
    struct pollfd waiting = {fd, events, 0};
    long long left = end < 0 ? -1 : end - srs_now();
    if (end >= 0 && left <= 0) { errno = ETIMEDOUT; return -1; }
    return poll(&waiting, 1, left > 60000 ? 60000 : (int)left) < 0 && errno != EINTR ? -1 : 0;
}

/* Takes a message, of `size` bytes at most: as many as `message:` says, or more. Waits so many
 * milliseconds at most; -1: as long as it takes. Returns its length; -1: errno is ENOENT (not in
 * `uses:`, or `by: ring`), ETIMEDOUT, or that of the kernel. What is taken is lost with its taker:
 * `srs_note` has the incident say so. */
static inline long srs_receive(const char *queue, void *into, size_t size, int most) {
    int fd = srs_end(queue, "take");
    long long end = most < 0 ? -1 : srs_now() + most;
    struct mq_attr attributes;
    if (fd < 0) return -1;
    for (;;) {
        ssize_t length = mq_getattr(fd, &attributes) == 0
                             ? mq_receive(fd, (char *)into, size, NULL) : read(fd, into, size);
        if (length >= 0) return (long)length;
        if (errno != EAGAIN && errno != EINTR) return -1;
        if (srs_wait_for(fd, POLLIN, end)) return -1;
    }
}

/* Sends a message, of 1 to `message:` bytes. 0: done; -1: as of `srs_receive`. */
static inline int srs_send(const char *queue, const void *message, size_t length, int most) {
    int fd = srs_end(queue, "send");
    long long end = most < 0 ? -1 : srs_now() + most;
    struct mq_attr attributes;
    if (fd < 0) return -1;
    for (;;) {
        long sent = mq_getattr(fd, &attributes) == 0
                        ? mq_send(fd, (const char *)message, length, 0)
                        : (long)write(fd, message, length);
        if (sent >= 0) return 0;
        if (errno != EAGAIN && errno != EINTR) return -1;
        if (srs_wait_for(fd, POLLOUT, end)) return -1;
    }
}

#endif
