/* Makes named calls of the C library fail; to be loaded in front of it with LD_PRELOAD.

   The faults are given in the environment variable FAULTS, or at run time with faults_set(): entries
   NAME=ERRNO@FIRST-LAST, separated by commas. Calls number FIRST to LAST, counted from 1 when the
   entry is set, fail with that errno; a LAST of 0 means all calls from FIRST on.

   System calls made with syscall() have the kernel's names. faults.py is the Python side. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
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
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MOST = 32, LONGEST = 32 };

struct fault {
    char name[LONGEST];
    int error;
    long first, last;
    long calls;
};

static struct fault faults[MOST];
static int count;

/* Replaces the faults set before; returns the number of valid entries. Must not be called while
   another thread makes a call that is named here. */
int faults_set(const char *text) {
    count = 0;
    while (text && *text && count < MOST) {
        struct fault *fault = &faults[count];
        memset(fault, 0, sizeof *fault);
        if (sscanf(text, "%31[a-z0-9_]=%d@%ld-%ld", fault->name, &fault->error, &fault->first,
                   &fault->last) != 4)
            break;
        count++;
        text = strchr(text, ',');
        if (text) text++;
    }
    return count;
}

/* Returns the number of calls since faults_set(), or -1 if the call has no entry. */
long faults_calls(const char *name) {
    for (int i = 0; i < count; i++)
        if (!strcmp(faults[i].name, name)) return faults[i].calls;
    return -1;
}

__attribute__((constructor)) static void from_environment(void) {
    faults_set(getenv("FAULTS"));
}

/* Returns the errno with which this call of `name` fails, or 0. */
static int failing(const char *name) {
    for (int i = 0; i < count; i++) {
        struct fault *fault = &faults[i];
        if (strcmp(fault->name, name)) continue;
        long call = __atomic_add_fetch(&fault->calls, 1, __ATOMIC_RELAXED);
        if (call >= fault->first && (!fault->last || call <= fault->last)) return fault->error;
    }
    return 0;
}

#define WRAP(result, name, parameters, arguments)                                                  \
    result name parameters {                                                                       \
        static result(*real) parameters;                                                           \
        if (!real) real = (result(*) parameters)dlsym(RTLD_NEXT, #name);                           \
        int error = failing(#name);                                                                \
        if (error) {                                                                               \
            errno = error;                                                                         \
            return (result)-1;                                                                     \
        }                                                                                          \
        return real arguments;                                                                     \
    }

WRAP(ssize_t, recv, (int fd, void *to, size_t size, int flags), (fd, to, size, flags))
WRAP(ssize_t, send, (int fd, const void *from, size_t size, int flags), (fd, from, size, flags))
WRAP(ssize_t, read, (int fd, void *to, size_t size), (fd, to, size))
WRAP(ssize_t, write, (int fd, const void *from, size_t size), (fd, from, size))
WRAP(ssize_t, readv, (int fd, const struct iovec *to, int size), (fd, to, size))
WRAP(ssize_t, writev, (int fd, const struct iovec *from, int size), (fd, from, size))
WRAP(ssize_t, recvfrom,
     (int fd, void *to, size_t size, int flags, __SOCKADDR_ARG name, socklen_t *length),
     (fd, to, size, flags, name, length))
WRAP(ssize_t, sendto,
     (int fd, const void *from, size_t size, int flags, __CONST_SOCKADDR_ARG name, socklen_t length),
     (fd, from, size, flags, name, length))
WRAP(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags))
WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags))
WRAP(int, recvmmsg,
     (int fd, struct mmsghdr *messages, unsigned size, int flags, struct timespec *wait),
     (fd, messages, size, flags, wait))
WRAP(int, sendmmsg, (int fd, struct mmsghdr *messages, unsigned size, int flags),
     (fd, messages, size, flags))
WRAP(int, accept, (int fd, __SOCKADDR_ARG name, socklen_t *length), (fd, name, length))
WRAP(int, accept4, (int fd, __SOCKADDR_ARG name, socklen_t *length, int flags),
     (fd, name, length, flags))
WRAP(int, connect, (int fd, __CONST_SOCKADDR_ARG name, socklen_t length), (fd, name, length))
WRAP(int, socket, (int family, int type, int protocol), (family, type, protocol))
WRAP(int, socketpair, (int family, int type, int protocol, int pair[2]),
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
WRAP(int, close, (int fd), (fd))
WRAP(int, dup, (int fd), (fd))
WRAP(int, pipe2, (int pair[2], int flags), (pair, flags))
WRAP(int, poll, (struct pollfd * descriptors, nfds_t size, int wait), (descriptors, size, wait))
WRAP(int, epoll_create1, (int flags), (flags))
WRAP(int, epoll_ctl, (int set, int operation, int fd, struct epoll_event *event),
     (set, operation, fd, event))
WRAP(int, epoll_wait, (int set, struct epoll_event *events, int size, int wait),
     (set, events, size, wait))
WRAP(int, epoll_pwait,
     (int set, struct epoll_event *events, int size, int wait, const sigset_t *mask),
     (set, events, size, wait, mask))
WRAP(int, epoll_pwait2,
     (int set, struct epoll_event *events, int size, const struct timespec *wait,
      const sigset_t *mask),
     (set, events, size, wait, mask))
WRAP(int, eventfd, (unsigned int value, int flags), (value, flags))
WRAP(int, timerfd_create, (clockid_t clock, int flags), (clock, flags))
WRAP(int, timerfd_settime,
     (int fd, int flags, const struct itimerspec *new, struct itimerspec *old),
     (fd, flags, new, old))
WRAP(int, pidfd_open, (pid_t pid, unsigned int flags), (pid, flags))
WRAP(ssize_t, sendfile, (int to, int from, off_t *offset, size_t size), (to, from, offset, size))
WRAP(ssize_t, sendfile64, (int to, int from, off64_t *offset, size_t size),
     (to, from, offset, size))

/* These have a variable argument list, of which one word is passed on. */
#define WRAP_VARIABLE(result, name, kind)                                                          \
    result name(int fd, kind request, ...) {                                                       \
        static result (*real)(int, kind, ...);                                                     \
        if (!real) real = (result(*)(int, kind, ...))dlsym(RTLD_NEXT, #name);                      \
        va_list list;                                                                              \
        va_start(list, request);                                                                   \
        void *argument = va_arg(list, void *);                                                     \
        va_end(list);                                                                              \
        int error = failing(#name);                                                                \
        if (error) {                                                                               \
            errno = error;                                                                         \
            return (result)-1;                                                                     \
        }                                                                                          \
        return real(fd, request, argument);                                                        \
    }

WRAP_VARIABLE(int, fcntl, int)
WRAP_VARIABLE(int, fcntl64, int)
WRAP_VARIABLE(int, ioctl, unsigned long)

/* Returns the error number instead of setting errno. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *argument) {
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    int error = failing("pthread_create");
    return error ? error : real(thread, attributes, run, argument);
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
    int error = name ? failing(name) : 0;
    if (error) {
        errno = error;
        return -1;
    }
    return real(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
                arguments[5]);
}
