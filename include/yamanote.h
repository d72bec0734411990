/* The C interface of yamanote's event loops, for extension modules in any language.
 *
 * A loop has an attribute `__yamanote_c_api__`: a capsule named "yamanote.c_api" with a pointer to a
 * yamanote_api, which lives as long as the process. yamanote_import() below fetches and checks it.
 *
 * "Attached" means: with the GIL, or on a free-threaded build with a thread state. Functions that
 * need it say so; called without it they answer YAMANOTE_WRONG_THREAD. None of them lets an
 * exception or a panic out, and none blocks. An argument must be null or what its type says:
 * pointers cannot be checked.
 */
#ifndef YAMANOTE_H
#define YAMANOTE_H

#include <Python.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Tables of one major version only grow at their end, by minor versions. */
#define YAMANOTE_MAJOR 1
#define YAMANOTE_MINOR 0

/* What functions answer. */
enum {
    YAMANOTE_OK = 0,
    YAMANOTE_EXCEPTION = -1,    /* a Python exception is set */
    YAMANOTE_CLOSED = -2,       /* the loop is closed */
    YAMANOTE_WRONG_THREAD = -3, /* another thread runs the loop, or this one is not attached */
    YAMANOTE_FOREIGN = -4,      /* the loop or the awaitable is not yamanote's */
    YAMANOTE_NO_LOOP = -5,      /* no event loop runs on this thread */
    YAMANOTE_INVALID = -6,      /* an argument is null, or a flag unknown */
    YAMANOTE_DONE = -7,         /* the awaitable has ended, or is being polled */
    YAMANOTE_VERSION = -8       /* yamanote_import(): the table is of another version */
};

/* What a pollable answers. */
enum {
    YAMANOTE_PENDING = 0, /* it has kept a clone of the waker, and will wake it */
    YAMANOTE_READY = 1,   /* *result is a new reference */
    YAMANOTE_FAILED = -1  /* a Python exception is set */
};

/* Flags of spawn(). */
enum {
    YAMANOTE_ANY_THREAD = 1, /* may be polled and dropped on any thread */
    /* Polled inside the loop's tokio runtime: of use only to code that is linked with yamanote. */
    YAMANOTE_INSIDE_RUNTIME = 2
};

typedef struct yamanote_loop yamanote_loop;
typedef struct yamanote_waker yamanote_waker;

/* Called once: with YAMANOTE_OK on the loop's thread, attached, no exception set before or after; or
 * with YAMANOTE_CLOSED when the loop was closed first, by any thread, perhaps not attached. */
typedef void (*yamanote_callback)(void *data, int status);

typedef struct {
    /* Attached, on the loop's thread, in the context of the task that waits. `waker` is borrowed: a
     * pollable that is pending keeps a clone. Not called again after READY or FAILED. */
    int (*poll)(void *data, const yamanote_waker *waker, PyObject **result);
    /* Attached; called once, last, however it ends. Unless ANY_THREAD was given, both are called only
     * by the thread that called spawn(). */
    void (*drop)(void *data);
} yamanote_pollable;

typedef struct {
    uint32_t version; /* major << 16 | minor */
    uint32_t size;    /* bytes of this table */

    /* A reference to a loop, for any thread; NULL stands for the loop that runs here. Attached. */
    int (*loop_acquire)(PyObject *loop, const yamanote_loop **out);
    int (*loop_retain)(const yamanote_loop *loop);   /* any thread */
    void (*loop_release)(const yamanote_loop *loop); /* any thread; NULL is ignored */

    /* Has the loop make a turn. Any thread. */
    int (*wake)(const yamanote_loop *loop);
    /* Has `callback(data)` called in a coming turn, in the order of the calls; unless the answer is
     * YAMANOTE_OK it never will be. Any thread, without a lock. */
    int (*submit)(const yamanote_loop *loop, yamanote_callback callback, void *data);

    /* A new reference to an awaitable that polls `data`, and owns it from then on; unless the answer
     * is YAMANOTE_OK, `data` stays the caller's. NULL stands for the loop that runs here. To asyncio
     * the awaitable is a coroutine. Attached. */
    int (*spawn)(PyObject *loop, const yamanote_pollable *functions, void *data, uint32_t flags,
                 PyObject **awaitable);
    /* Drops what the awaitable polls; whoever awaits it gets CancelledError. Attached. */
    int (*cancel)(PyObject *awaitable);

    uint64_t (*clock_ns)(void); /* nanoseconds on the clock of loop.time(); any thread */
    size_t (*live)(void);       /* pollables that have not been dropped; any thread */

    /* Any thread. A waker of a pollable that has ended, or of a closed loop, does nothing. */
    const yamanote_waker *(*waker_clone)(const yamanote_waker *waker);
    void (*waker_wake)(const yamanote_waker *waker); /* wakes, and drops a clone */
    void (*waker_wake_by_ref)(const yamanote_waker *waker);
    void (*waker_drop)(const yamanote_waker *waker); /* drops a clone */
} yamanote_api;

/* The table of a loop. `*out` is set when the answer is YAMANOTE_OK; no exception is set then or
 * otherwise. Attached. */
static inline int yamanote_import(PyObject *loop, const yamanote_api **out) {
    PyObject *capsule;
    const yamanote_api *api;
    if (loop == NULL || out == NULL) {
        return YAMANOTE_INVALID;
    }
    capsule = PyObject_GetAttrString(loop, "__yamanote_c_api__");
    if (capsule == NULL) {
        PyErr_Clear();
        return YAMANOTE_FOREIGN;
    }
    api = (const yamanote_api *)PyCapsule_GetPointer(capsule, "yamanote.c_api");
    Py_DECREF(capsule);
    if (api == NULL) {
        PyErr_Clear();
        return YAMANOTE_FOREIGN;
    }
    if (api->version >> 16 != YAMANOTE_MAJOR || api->size < sizeof(yamanote_api)) {
        return YAMANOTE_VERSION;
    }
    *out = api;
    return YAMANOTE_OK;
}

#ifdef __cplusplus
}
#endif

#endif
