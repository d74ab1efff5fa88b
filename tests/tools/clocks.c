/* Preloaded into an application: its wall clock and the clock that counts sleep run ahead by what
   the file named in SHIFTED_CLOCKS says, two 64-bit numbers of nanoseconds. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define SLICE (SECOND / 50)

static const volatile int64_t *shifts;

static int real_gettime(clockid_t clock, struct timespec *time)
{
    static int (*next)(clockid_t, struct timespec *);
    if (!next)
        next = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    return next(clock, time);
}

static void add(struct timespec *time, int64_t nanoseconds)
{
    int64_t sum = time->tv_sec * SECOND + time->tv_nsec + nanoseconds;
    time->tv_sec = sum / SECOND;
    time->tv_nsec = sum % SECOND;
}

__attribute__((constructor)) static void map(void)
{
    const char *name = getenv("SHIFTED_CLOCKS");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    void *mapped;
    if (file < 0)
        return;
    mapped = mmap(NULL, 2 * sizeof *shifts, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED)
        shifts = mapped;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int failed = real_gettime(clock, time);
    if (!failed && shifts) {
        if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
            add(time, shifts[0]);
        if (clock == CLOCK_BOOTTIME)
            add(time, shifts[1]);
    }
    return failed;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *there)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (there)
        *there = now.tv_sec;
    return now.tv_sec;
}

/* As the kernel does: a wait until a time of the wall clock lasts until the clock shows it. */
int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until)
{
    static int (*next)(sem_t *, const struct timespec *);
    if (!next)
        next = (int (*)(sem_t *, const struct timespec *))dlsym(RTLD_NEXT, "sem_timedwait");
    for (;;) {
        struct timespec now, slice;
        clock_gettime(CLOCK_REALTIME, &now);
        if (now.tv_sec > until->tv_sec
            || (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec))
            return sem_trywait(semaphore) == 0 ? 0 : (errno = ETIMEDOUT, -1);
        real_gettime(CLOCK_REALTIME, &slice);
        add(&slice, SLICE);
        if (next(semaphore, &slice) == 0)
            return 0;
        if (errno != ETIMEDOUT)
            return -1;
    }
}
