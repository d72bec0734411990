/* Makes named calls of the C library fail; to be loaded in front of it with LD_PRELOAD.

   The faults are given in the environment variable FAULTS, or at run time with faults_set(): entries
   NAME=ERRNO@FIRST-LAST, separated by commas. Calls number FIRST to LAST, counted from 1 when the
   entry is set, fail with that errno; a LAST of 0 means all calls from FIRST on. With the number 0
   calls are only counted. With -1 they move fewer bytes (or datagrams) than they could: one.

   An edge-triggered loop is told afterwards that there is more, as a kernel tells it: also after EAGAIN.

   Allocations of Python's fail with faults_memory().

   Calls on a descriptor given to faults_spare(), and those on standard streams, neither fail nor count.
   System calls made with syscall() have the kernel's names. shim.py is the Python side. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 80, LONGEST = 32, SPARED = 1024, FEWER = -1 };

struct fault {
    char name[LONGEST];
    int error;
    long first, last;
    long calls;
};

static struct fault faults[MOST];
static int count;
static char spared[SPARED];

/* How a descriptor was registered with an epoll set. */
static struct {
    int set;
    struct epoll_event event;
} watched[SPARED];

/* A refused transfer, and a short read, end an edge, so the kernel reports the next one: make it do
   so. A kernel that has no memory for more than a part of a write reports nothing. */
static void edge(int fd) {
    if (fd >= 0 && fd < SPARED && watched[fd].event.events & EPOLLET)
        syscall(SYS_epoll_ctl, watched[fd].set, EPOLL_CTL_MOD, fd, &watched[fd].event);
}

/* Replaces the faults set before; returns the number of valid entries. Must not be called while
   another thread makes a call that is named here, except to end all faults. */
int faults_set(const char *text) {
    count = 0;
    int valid = 0;
    while (text && *text && valid < MOST) {
        struct fault *fault = &faults[valid];
        memset(fault, 0, sizeof *fault);
        if (sscanf(text, "%31[a-z0-9_]=%d@%ld-%ld", fault->name, &fault->error, &fault->first,
                   &fault->last) != 4)
            break;
        valid++;
        text = strchr(text, ',');
        if (text) text++;
    }
    return count = valid;
}

/* From now on, calls on this descriptor do not fail, until it is closed. */
void faults_spare(int fd) {
    if (fd >= 0 && fd < SPARED) spared[fd] = 1;
}

/* Returns the number of calls since faults_set(), or -1 if the call has no entry. */
long faults_calls(const char *name) {
    for (int i = 0; i < count; i++)
        if (!strcmp(faults[i].name, name)) return faults[i].calls;
    return -1;
}

__attribute__((constructor)) static void from_environment(void) {
    for (int fd = 0; fd < 3; fd++) faults_spare(fd);
    faults_set(getenv("FAULTS"));
}

/* Returns the errno with which this call of `name` fails, FEWER, or 0. */
static int failing(const char *name, int fd) {
    if (fd >= 0 && fd < SPARED && spared[fd]) return 0;
    for (int i = 0; i < count; i++) {
        struct fault *fault = &faults[i];
        if (strcmp(fault->name, name)) continue;
        long call = __atomic_add_fetch(&fault->calls, 1, __ATOMIC_RELAXED);
        if (call >= fault->first && (!fault->last || call <= fault->last)) return fault->error;
    }
    return 0;
}

/* Whether a short count says nothing but that: not on eventfds, nor where a record would be cut. */
static int is_stream(int fd) {
    int kind = 0;
    socklen_t size = sizeof kind;
    if (syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, &kind, &size) == 0)
        return kind == SOCK_STREAM;
    struct stat status;
    return syscall(SYS_fstat, fd, &status) == 0 && (S_ISFIFO(status.st_mode) || S_ISREG(status.st_mode));
}

#define ERROR_OR(...)                                                                              \
    if (error > 0) {                                                                               \
        errno = error;                                                                             \
        return -1;                                                                                 \
    }                                                                                              \
    if (error == FEWER) {                                                                          \
        __VA_ARGS__;                                                                               \
    }

#define REAL(result, name, parameters)                                                             \
    static result(*real) parameters;                                                               \
    if (!real) real = (result(*) parameters)dlsym(RTLD_NEXT, #name);

#define WRAP_ON(descriptor, result, name, parameters, arguments)                                   \
    result name parameters {                                                                       \
        REAL(result, name, parameters)                                                             \
        int error = failing(#name, descriptor);                                                    \
        ERROR_OR()                                                                                 \
        return real arguments;                                                                     \
    }

/* A call whose first parameter is a descriptor named fd; one without; one that can move fewer bytes. */
#define WRAP(result, name, parameters, arguments) WRAP_ON(fd, result, name, parameters, arguments)
#define WRAP_FREE(result, name, parameters, arguments) WRAP_ON(-1, result, name, parameters, arguments)
#define WRAP_MOVING(name, parameters, arguments, shorten, after)                                   \
    ssize_t name parameters {                                                                      \
        REAL(ssize_t, name, parameters)                                                            \
        int error = failing(#name, fd);                                                            \
        if (error == EAGAIN) edge(fd);                                                             \
        ERROR_OR(shorten)                                                                          \
        ssize_t moved = real arguments;                                                            \
        if (error == FEWER) { after; }                                                             \
        return moved;                                                                              \
    }

#define FEWER_BYTES if (size > 1 && is_stream(fd)) size = 1
/* Used only until the call is made. */
#define FEWER_PIECES                                                                               \
    static __thread struct iovec one;                                                              \
    if (size > 0 && is_stream(fd) && list[0].iov_len > 0) {                                        \
        one = list[0];                                                                             \
        one.iov_len = 1;                                                                           \
        list = &one;                                                                               \
        size = 1;                                                                                  \
    }
#define FEWER_OF_MESSAGE                                                                           \
    if (message->msg_iovlen > 0 && is_stream(fd) && message->msg_iov[0].iov_len > 0) {             \
        static __thread struct iovec one;                                                          \
        static __thread struct msghdr cut;                                                         \
        one = (struct iovec){message->msg_iov[0].iov_base, 1};                                     \
        cut = *message;                                                                            \
        cut.msg_iov = &one;                                                                        \
        cut.msg_iovlen = 1;                                                                        \
        message = &cut;                                                                            \
    }

WRAP_MOVING(recv, (int fd, void *to, size_t size, int flags), (fd, to, size, flags), FEWER_BYTES,
            edge(fd))
WRAP_MOVING(send, (int fd, const void *from, size_t size, int flags), (fd, from, size, flags),
            FEWER_BYTES, )
WRAP_MOVING(read, (int fd, void *to, size_t size), (fd, to, size), FEWER_BYTES, edge(fd))
WRAP_MOVING(write, (int fd, const void *from, size_t size), (fd, from, size), FEWER_BYTES, )
WRAP_MOVING(readv, (int fd, const struct iovec *list, int size), (fd, list, size),
            FEWER_PIECES, edge(fd))
WRAP_MOVING(writev, (int fd, const struct iovec *list, int size), (fd, list, size),
            FEWER_PIECES, )
WRAP_MOVING(recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags), , )
WRAP_MOVING(sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags),
            FEWER_OF_MESSAGE, )
WRAP_MOVING(sendfile, (int fd, int from, off_t *offset, size_t size), (fd, from, offset, size),
            FEWER_BYTES, )
WRAP_MOVING(sendfile64, (int fd, int from, off64_t *offset, size_t size), (fd, from, offset, size),
            FEWER_BYTES, )
WRAP(ssize_t, recvfrom,
     (int fd, void *to, size_t size, int flags, __SOCKADDR_ARG name, socklen_t *length),
     (fd, to, size, flags, name, length))
WRAP(ssize_t, sendto,
     (int fd, const void *from, size_t size, int flags, __CONST_SOCKADDR_ARG name, socklen_t length),
     (fd, from, size, flags, name, length))

int recvmmsg(int fd, struct mmsghdr *messages, unsigned size, int flags, struct timespec *wait) {
    REAL(int, recvmmsg, (int, struct mmsghdr *, unsigned, int, struct timespec *))
    int error = failing("recvmmsg", fd);
    if (error == EAGAIN || error == FEWER) edge(fd);
    ERROR_OR(if (size > 1) size = 1)
    return real(fd, messages, size, flags, wait);
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned size, int flags) {
    REAL(int, sendmmsg, (int, struct mmsghdr *, unsigned, int))
    int error = failing("sendmmsg", fd);
    if (error == EAGAIN) edge(fd);
    ERROR_OR(if (size > 1) size = 1)
    return real(fd, messages, size, flags);
}

WRAP(int, accept, (int fd, __SOCKADDR_ARG name, socklen_t *length), (fd, name, length))
WRAP(int, accept4, (int fd, __SOCKADDR_ARG name, socklen_t *length, int flags),
     (fd, name, length, flags))
WRAP(int, connect, (int fd, __CONST_SOCKADDR_ARG name, socklen_t length), (fd, name, length))
WRAP_FREE(int, socket, (int family, int type, int protocol), (family, type, protocol))
WRAP_FREE(int, socketpair, (int family, int type, int protocol, int pair[2]),
          (family, type, protocol, pair))
WRAP(int, bind, (int fd, __CONST_SOCKADDR_ARG name, socklen_t length), (fd, name, length))
WRAP(int, listen, (int fd, int backlog), (fd, backlog))
WRAP(int, shutdown, (int fd, int how), (fd, how))
WRAP(int, getsockname, (int fd, __SOCKADDR_ARG name, socklen_t *length), (fd, name, length))
WRAP(int, getpeername, (int fd, __SOCKADDR_ARG name, socklen_t *length), (fd, name, length))
WRAP(int, getsockopt, (int fd, int level, int option, void *value, socklen_t *size),
     (fd, level, option, value, size))
WRAP(int, setsockopt, (int fd, int level, int option, const void *value, socklen_t size),
     (fd, level, option, value, size))
WRAP(int, dup, (int fd), (fd))
WRAP_FREE(int, pipe2, (int pair[2], int flags), (pair, flags))
WRAP_FREE(int, poll, (struct pollfd * descriptors, nfds_t size, int wait), (descriptors, size, wait))
WRAP_FREE(int, epoll_create1, (int flags), (flags))
int epoll_ctl(int set, int operation, int fd, struct epoll_event *event) {
    REAL(int, epoll_ctl, (int, int, int, struct epoll_event *))
    int error = failing("epoll_ctl", fd);
    ERROR_OR()
    int done = real(set, operation, fd, event);
    if (done == 0 && fd >= 0 && fd < SPARED) {
        watched[fd].set = set;
        watched[fd].event = event && operation != EPOLL_CTL_DEL ? *event : (struct epoll_event){0};
    }
    return done;
}

WRAP_FREE(int, epoll_wait, (int set, struct epoll_event *events, int size, int wait),
          (set, events, size, wait))
WRAP_FREE(int, epoll_pwait,
          (int set, struct epoll_event *events, int size, int wait, const sigset_t *mask),
          (set, events, size, wait, mask))
WRAP_FREE(int, epoll_pwait2,
          (int set, struct epoll_event *events, int size, const struct timespec *wait,
           const sigset_t *mask),
          (set, events, size, wait, mask))
WRAP_FREE(int, eventfd, (unsigned int value, int flags), (value, flags))
WRAP_FREE(int, timerfd_create, (clockid_t clock, int flags), (clock, flags))
WRAP(int, timerfd_settime,
     (int fd, int flags, const struct itimerspec *new, struct itimerspec *old),
     (fd, flags, new, old))
WRAP_FREE(int, pidfd_open, (pid_t pid, unsigned int flags), (pid, flags))
WRAP_FREE(pid_t, fork, (void), ())

/* With ECHILD other code has reaped the child, if it has ended. */
pid_t waitpid(pid_t pid, int *status, int options) {
    REAL(pid_t, waitpid, (pid_t, int *, int))
    int error = failing("waitpid", -1);
    if (error == ECHILD && real(pid, status, options) == 0) return 0;
    ERROR_OR()
    return real(pid, status, options);
}

WRAP_FREE(pid_t, wait4, (pid_t pid, int *status, int options, struct rusage *usage),
          (pid, status, options, usage))
WRAP_FREE(int, waitid, (idtype_t kind, id_t id, siginfo_t *info, int options),
          (kind, id, info, options))

/* Whatever it returns, the descriptor is closed. */
int close(int fd) {
    REAL(int, close, (int))
    int error = failing("close", fd);
    if (fd > 2 && fd < SPARED) {
        spared[fd] = 0;
        watched[fd].event.events = 0;
    }
    int closed = real(fd);
    ERROR_OR()
    return closed;
}

/* These have a variable argument list, of which one word is passed on. */
#define WRAP_VARIABLE(result, name, kind)                                                          \
    result name(int fd, kind request, ...) {                                                       \
        static result (*real)(int, kind, ...);                                                     \
        if (!real) real = (result(*)(int, kind, ...))dlsym(RTLD_NEXT, #name);                      \
        va_list list;                                                                              \
        va_start(list, request);                                                                   \
        void *argument = va_arg(list, void *);                                                     \
        va_end(list);                                                                              \
        int error = failing(#name, fd);                                                            \
        ERROR_OR()                                                                                 \
        return real(fd, request, argument);                                                        \
    }

WRAP_VARIABLE(int, fcntl, int)
WRAP_VARIABLE(int, fcntl64, int)
WRAP_VARIABLE(int, ioctl, unsigned long)

#define WRAP_OPEN(name)                                                                            \
    int name(const char *path, int flags, ...) {                                                   \
        static int (*real)(const char *, int, ...);                                                \
        if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name);                                      \
        va_list list;                                                                              \
        va_start(list, flags);                                                                     \
        int mode = va_arg(list, int);                                                              \
        va_end(list);                                                                              \
        int error = failing("open", -1);                                                           \
        ERROR_OR()                                                                                 \
        return real(path, flags, mode);                                                            \
    }

WRAP_OPEN(open)
WRAP_OPEN(open64)

/* These return the error number instead of setting errno. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *argument) {
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    int error = failing("pthread_create", -1);
    return error > 0 ? error : real(thread, attributes, run, argument);
}

/* The number is one of EAI_*, without its sign. */
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **found) {
    REAL(int, getaddrinfo, (const char *, const char *, const struct addrinfo *, struct addrinfo **))
    int error = failing("getaddrinfo", -1);
    return error > 0 ? -error : real(host, service, hints, found);
}

/* The system calls made by number that can be made to fail. */
static const char *name_of(long number) {
    switch (number) {
#ifdef SYS_pidfd_open
    case SYS_pidfd_open:
        return "pidfd_open";
#endif
    case SYS_eventfd2:
        return "eventfd";
    case SYS_timerfd_create:
        return "timerfd_create";
    case SYS_accept4:
        return "accept4";
#ifdef SYS_epoll_pwait2
    case SYS_epoll_pwait2:
        return "epoll_pwait2";
#endif
    default:
        return NULL;
    }
}

long syscall(long number, ...) {
    static long (*real)(long, ...);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "syscall");
    va_list list;
    long arguments[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++) arguments[i] = va_arg(list, long);
    va_end(list);
    const char *name = name_of(number);
    int error = name ? failing(name, number == SYS_accept4 ? (int)arguments[0] : -1) : 0;
    ERROR_OR()
    return real(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
                arguments[5]);
}

/* Python's allocations. */

typedef struct {
    void *context;
    void *(*malloc)(void *context, size_t size);
    void *(*calloc)(void *context, size_t count, size_t size);
    void *(*realloc)(void *context, void *block, size_t size);
    void (*free)(void *context, void *block);
} allocator;

enum { DOMAINS = 3, FRAMES = 24, LASTING_MS = 300 };

static allocator allocators[DOMAINS];
static struct {
    long first, last, calls, ends_ms;
    int is_paused, has_struck;
} memory;
static pthread_t only;
static int is_one;
/* Names of functions and libraries in which no allocation fails, each between two commas. */
static char spared_functions[512];

static long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Whether it is for a spared function, with none of yamanote's own code between. */
static int is_spared(void *const *frames, int depth) {
    for (int i = 0; i < depth; i++) {
        Dl_info found;
        char name[80], file[80];
        if (!dladdr(frames[i], &found)) continue;
        const char *base = strrchr(found.dli_fname, '/');
        base = base ? base + 1 : found.dli_fname;
        snprintf(file, sizeof file, ",%.*s,", (int)strcspn(base, "."), base);
        if (!strcmp(file, ",_yamanote,")) return 0;
        snprintf(name, sizeof name, ",%s,", found.dli_sname ? found.dli_sname : "?");
        if (strstr(spared_functions, name) || strstr(spared_functions, file)) return 1;
    }
    return 0;
}

static int is_without_memory(void) {
    if (!memory.first || memory.is_paused || (is_one && !pthread_equal(only, pthread_self()))) return 0;
    void *frames[FRAMES];
    int depth = 0;
    if (spared_functions[0] && is_spared(frames, depth = backtrace(frames, FRAMES))) return 0;
    long call = __atomic_add_fetch(&memory.calls, 1, __ATOMIC_RELAXED);
    if (call < memory.first || (memory.last && call > memory.last)) return 0;
    if (!memory.has_struck) {
        if (!depth) depth = backtrace(frames, FRAMES);
        memory.has_struck = 1;
        memory.ends_ms = now_ms() + LASTING_MS;
        backtrace_symbols_fd(frames, depth, STDERR_FILENO);
    }
    return memory.last || now_ms() < memory.ends_ms;
}

static void *failing_malloc(void *context, size_t size) {
    const allocator *real = context;
    return is_without_memory() ? NULL : real->malloc(real->context, size);
}

static void *failing_calloc(void *context, size_t count, size_t size) {
    const allocator *real = context;
    return is_without_memory() ? NULL : real->calloc(real->context, count, size);
}

static void *failing_realloc(void *context, void *block, size_t size) {
    const allocator *real = context;
    return is_without_memory() ? NULL : real->realloc(real->context, block, size);
}

static void always_free(void *context, void *block) {
    const allocator *real = context;
    real->free(real->context, block);
}

/* Puts the functions above between Python and its allocators; returns whether it could. For the functions
   and libraries named in `spared`, as in ",PyA_B,_c,", no allocation fails or counts, nor with `one` of other threads. */
int faults_memory_prepare(const char *spared, int one) {
    only = pthread_self();
    is_one = one;
    void (*get)(int, allocator *) = dlsym(RTLD_DEFAULT, "PyMem_GetAllocator");
    void (*set)(int, allocator *) = dlsym(RTLD_DEFAULT, "PyMem_SetAllocator");
    if (!get || !set) return 0;
    void *frames[FRAMES];
    backtrace(frames, FRAMES); /* The first one loads a library. */
    snprintf(spared_functions, sizeof spared_functions, "%s", spared);
    for (int domain = 0; domain < DOMAINS; domain++) {
        get(domain, &allocators[domain]);
        allocator failing = {&allocators[domain], failing_malloc, failing_calloc, failing_realloc, always_free};
        set(domain, &failing);
    }
    return 1;
}

/* Allocations number FIRST to LAST fail, counted from 1 from now on; with a LAST of 0 all from FIRST on,
   for 0.3 seconds: a timer of the program's might find no memory to end it. */
void faults_memory(long first, long last) {
    memset(&memory, 0, sizeof memory);
    memory.last = last;
    memory.first = first;
}

/* There is memory again. Like the two that follow, it needs none when it is called with ctypes. */
void faults_memory_end(void) { memory.first = 0; }

/* Until faults_memory_resume() allocations neither fail nor count. */
void faults_memory_pause(void) { memory.is_paused++; }

void faults_memory_resume(void) { memory.is_paused--; }

/* Returns whether an allocation has failed. */
int faults_memory_struck(void) { return memory.has_struck; }
