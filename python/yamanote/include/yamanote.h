/* The C interface of yamanote's event loops, for extension modules in any language.
 *
 * A loop has an attribute `__yamanote_c_api__`: a capsule named "yamanote.c_api" with a pointer to a
 * yamanote_api, which lives as long as the process. yamanote_import() below fetches and checks it.
 *
 * "Attached" means holding the GIL, or, on a free-threaded build, having an attached thread state.
 * Functions marked "Attached" return YAMANOTE_WRONG_THREAD if called without. No function blocks or
 * unwinds into its caller. Pointer arguments must be null or valid for their type: this cannot be
 * checked.
 */
#ifndef YAMANOTE_H
#define YAMANOTE_H

#include <Python.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Within a major version, minor versions only add functions at the end of the table. */
#define YAMANOTE_MAJOR 1
#define YAMANOTE_MINOR 0

/* Return values of the functions. */
enum {
    YAMANOTE_OK = 0,
    YAMANOTE_EXCEPTION = -1,    /* a Python exception is set */
    YAMANOTE_CLOSED = -2,       /* the loop is closed */
    YAMANOTE_WRONG_THREAD = -3, /* another thread is running the loop, or this one is not attached */
    YAMANOTE_FOREIGN = -4,      /* the loop or the awaitable is not yamanote's */
    YAMANOTE_NO_LOOP = -5,      /* no event loop is running on this thread */
    YAMANOTE_INVALID = -6,      /* an argument is null, or a flag is unknown */
    YAMANOTE_DONE = -7,         /* the awaitable is done, or is being polled */
    YAMANOTE_VERSION = -8       /* yamanote_import(): the table has another version */
};

/* Return values of a pollable. */
enum {
    YAMANOTE_PENDING = 0, /* the pollable has kept a clone of the waker, and will wake it */
    YAMANOTE_READY = 1,   /* *result is a new reference */
    YAMANOTE_FAILED = -1  /* a Python exception is set */
};

/* Flags of spawn(). */
enum {
    YAMANOTE_ANY_THREAD = 1, /* may be polled and dropped on any thread */
    /* Polled inside the loop's tokio runtime: useful only for code linked with yamanote itself. */
    YAMANOTE_INSIDE_RUNTIME = 2
};

typedef struct yamanote_loop yamanote_loop;
typedef struct yamanote_waker yamanote_waker;

/* Called once: with YAMANOTE_OK on the loop's thread, attached, with no exception set before or after;
 * or with YAMANOTE_CLOSED on any thread, perhaps not attached, if the loop is closed first. */
typedef void (*yamanote_callback)(void *data, int status);

typedef struct {
    /* Called attached, on the loop's thread, in the context of the awaiting task. `waker` is
     * borrowed: a pending pollable keeps a clone. Not called again after READY or FAILED. */
    int (*poll)(void *data, const yamanote_waker *waker, PyObject **result);
    /* Called attached, exactly once, as the last call, on every outcome. Unless ANY_THREAD is set,
     * both functions are called only on the thread that called spawn(). */
    void (*drop)(void *data);
} yamanote_pollable;

typedef struct {
    uint32_t version; /* major << 16 | minor */
    uint32_t size;    /* size of this table in bytes */

    /* Stores a new reference to a loop, which any thread may use. NULL means the loop running on
     * this thread. Attached. */
    int (*loop_acquire)(PyObject *loop, const yamanote_loop **out);
    int (*loop_retain)(const yamanote_loop *loop);   /* any thread */
    void (*loop_release)(const yamanote_loop *loop); /* any thread; NULL is ignored */

    /* Wakes the loop, which then makes a turn. Any thread. */
    int (*wake)(const yamanote_loop *loop);
    /* Schedules `callback(data)` for a later turn, in the order of the calls. On any result but
     * YAMANOTE_OK it is never called. Any thread; takes no lock. */
    int (*submit)(const yamanote_loop *loop, yamanote_callback callback, void *data);

    /* Stores a new reference to an awaitable that polls and owns `data`. On any result but
     * YAMANOTE_OK, `data` remains the caller's. NULL means the loop running on this thread. For
     * asyncio, the awaitable is a coroutine. Attached. */
    int (*spawn)(PyObject *loop, const yamanote_pollable *functions, void *data, uint32_t flags,
                 PyObject **awaitable);
    /* Drops the pollable of an awaitable; the awaiting task gets CancelledError. Attached. */
    int (*cancel)(PyObject *awaitable);

    uint64_t (*clock_ns)(void); /* nanoseconds on the clock of loop.time(); any thread */
    size_t (*live)(void);       /* pollables that have not been dropped; any thread */

    /* Any thread. The waker of a finished pollable, or of a closed loop, does nothing. */
    const yamanote_waker *(*waker_clone)(const yamanote_waker *waker);
    void (*waker_wake)(const yamanote_waker *waker); /* wakes, and drops a clone */
    void (*waker_wake_by_ref)(const yamanote_waker *waker);
    void (*waker_drop)(const yamanote_waker *waker); /* drops a clone */
} yamanote_api;

/* Fetches the table of a loop. `*out` is set only if the result is YAMANOTE_OK. Never leaves a Python
 * exception set. Attached. */
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
