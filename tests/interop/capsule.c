/* An extension for tests/interop/test_capsule.py: correct and wrong uses of the C interface. */
#include "yamanote.h"

#include <pthread.h>

/* Pending once, woken at once or by another thread; then ready with the number of its polls. */
typedef struct {
    const yamanote_api *api;
    const yamanote_waker *waker;
    int polls;
    int from_thread;
} twice;

static int drops;

static void *wake_late(void *data) {
    twice *self = data;
    self->api->waker_wake(self->waker);
    return NULL;
}

static int poll_twice(void *data, const yamanote_waker *waker, PyObject **result) {
    twice *self = data;
    if (self->polls++ > 0) {
        *result = PyLong_FromLong(self->polls);
        return *result == NULL ? YAMANOTE_FAILED : YAMANOTE_READY;
    }
    if (!self->from_thread) {
        self->api->waker_wake_by_ref(waker);
    } else {
        pthread_t thread;
        self->waker = self->api->waker_clone(waker);
        if (pthread_create(&thread, NULL, wake_late, self) != 0) {
            self->api->waker_drop(self->waker);
            PyErr_SetString(PyExc_RuntimeError, "no thread");
            return YAMANOTE_FAILED;
        }
        pthread_detach(thread);
    }
    return YAMANOTE_PENDING;
}

static int poll_never(void *data, const yamanote_waker *waker, PyObject **result) {
    (void)data, (void)waker, (void)result;
    return YAMANOTE_PENDING;
}

static int poll_badly(void *data, const yamanote_waker *waker, PyObject **result) {
    (void)data, (void)waker, (void)result;
    return 77;
}

static void count_drop(void *data) {
    drops++;
    PyMem_Free(data);
}

static PyObject *spawn(PyObject *loop, int (*poll)(void *, const yamanote_waker *, PyObject **),
                       int from_thread) {
    const yamanote_api *api;
    yamanote_pollable functions = {poll, count_drop};
    PyObject *awaitable = NULL;
    int code = yamanote_import(loop, &api);
    if (code == YAMANOTE_OK) {
        twice *self = PyMem_Calloc(1, sizeof(twice));
        if (self == NULL) {
            return PyErr_NoMemory();
        }
        self->api = api;
        self->from_thread = from_thread;
        code = api->spawn(loop, &functions, self, 0, &awaitable);
        if (code == YAMANOTE_OK) {
            return awaitable;
        }
        PyMem_Free(self);
        if (code == YAMANOTE_EXCEPTION) {
            return NULL;
        }
    }
    return PyLong_FromLong(code);
}

static PyObject *py_twice(PyObject *module, PyObject *args) {
    PyObject *loop;
    int from_thread;
    (void)module;
    return PyArg_ParseTuple(args, "Oi", &loop, &from_thread) ? spawn(loop, poll_twice, from_thread)
                                                             : NULL;
}

static PyObject *py_never(PyObject *module, PyObject *loop) {
    (void)module;
    return spawn(loop, poll_never, 0);
}

static PyObject *py_badly(PyObject *module, PyObject *loop) {
    (void)module;
    return spawn(loop, poll_badly, 0);
}

static PyObject *py_cancel(PyObject *module, PyObject *args) {
    PyObject *loop, *awaitable;
    const yamanote_api *api;
    (void)module;
    if (!PyArg_ParseTuple(args, "OO", &loop, &awaitable)) {
        return NULL;
    }
    int code = yamanote_import(loop, &api);
    return PyLong_FromLong(code == YAMANOTE_OK ? api->cancel(awaitable) : code);
}

static PyObject *py_live(PyObject *module, PyObject *loop) {
    const yamanote_api *api;
    (void)module;
    return PyLong_FromLong(yamanote_import(loop, &api) == YAMANOTE_OK ? (long)api->live() : -1);
}

static PyObject *py_drops(PyObject *module, PyObject *none) {
    (void)module, (void)none;
    return PyLong_FromLong(drops);
}

/* Calls submitted by a thread without a Python thread state. */
typedef struct {
    const yamanote_api *api;
    const yamanote_loop *loop;
    PyObject *function;
    int count;
    int status;
} calls;

typedef struct {
    calls *owner;
    long number;
} call;

static void run_call(void *data, int status) {
    call *self = data;
    self->owner->status = status;
    if (status == YAMANOTE_OK) {
        PyObject *result = PyObject_CallFunction(self->owner->function, "l", self->number);
        if (result == NULL) {
            PyErr_WriteUnraisable(self->owner->function);
        }
        Py_XDECREF(result);
    }
    free(self);
}

static void ignore_call(void *data, int status) {
    (void)data, (void)status;
}

static void *submit_all(void *data) {
    calls *self = data;
    for (long number = 0; number < self->count; number++) {
        call *each = malloc(sizeof(call));
        each->owner = self;
        each->number = number;
        if (self->api->submit(self->loop, run_call, each) != YAMANOTE_OK) {
            free(each);
        }
    }
    return NULL;
}

/* Leaks the few bytes of `calls`, because the last call may still read them. */
static PyObject *py_submit(PyObject *module, PyObject *args) {
    calls *self = calloc(1, sizeof(calls));
    PyObject *loop;
    pthread_t thread;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOi", &loop, &self->function, &self->count)) {
        return NULL;
    }
    int code = yamanote_import(loop, &self->api);
    if (code == YAMANOTE_OK) {
        code = self->api->loop_acquire(loop, &self->loop);
    }
    if (code != YAMANOTE_OK) {
        return PyLong_FromLong(code);
    }
    Py_INCREF(self->function);
    if (pthread_create(&thread, NULL, submit_all, self) != 0) {
        return PyErr_NoMemory();
    }
    Py_BEGIN_ALLOW_THREADS;
    pthread_join(thread, NULL);
    Py_END_ALLOW_THREADS;
    return PyCapsule_New(self, "calls", NULL);
}

/* The status passed to the last call, and the loop's current result. */
static PyObject *py_after(PyObject *module, PyObject *capsule) {
    calls *self = PyCapsule_GetPointer(capsule, "calls");
    (void)module;
    if (self == NULL) {
        return NULL;
    }
    int woken = self->api->wake(self->loop);
    int submitted = self->api->submit(self->loop, ignore_call, NULL);
    self->api->loop_release(self->loop);
    Py_DECREF(self->function);
    return Py_BuildValue("iii", self->status, woken, submitted);
}

static void *detached(void *data) {
    void **self = data;
    const yamanote_api *api = self[0];
    const yamanote_loop *out;
    self[1] = (void *)(intptr_t)api->loop_acquire(NULL, &out);
    return NULL;
}

/* The result codes of wrong calls, in the order listed in the test. */
static PyObject *py_misuse(PyObject *module, PyObject *loop) {
    const yamanote_api *api;
    const yamanote_loop *out;
    yamanote_pollable functions = {poll_never, count_drop};
    PyObject *awaitable;
    pthread_t thread;
    (void)module;
    if (yamanote_import(loop, &api) != YAMANOTE_OK) {
        Py_RETURN_NONE;
    }
    void *shared[2] = {(void *)api, NULL};
    if (pthread_create(&thread, NULL, detached, shared) != 0) {
        return PyErr_NoMemory();
    }
    pthread_join(thread, NULL);
    return Py_BuildValue(
        "[iiiiiiiiii]", yamanote_import(NULL, &api), yamanote_import(Py_None, &api),
        api->loop_acquire(Py_None, &out), api->loop_acquire(loop, NULL), api->wake(NULL),
        api->submit(NULL, run_call, NULL), api->spawn(loop, NULL, NULL, 0, &awaitable),
        api->spawn(loop, &functions, NULL, 64, &awaitable), api->cancel(Py_None),
        (int)(intptr_t)shared[1]);
}

static PyObject *py_clock(PyObject *module, PyObject *loop) {
    const yamanote_api *api;
    (void)module;
    return yamanote_import(loop, &api) == YAMANOTE_OK ? PyLong_FromUnsignedLongLong(api->clock_ns())
                                                      : PyLong_FromLong(-1);
}

/* A capsule with another version. */
static PyObject *py_other_version(PyObject *module, PyObject *none) {
    static yamanote_api other = {.version = 9u << 16, .size = sizeof(yamanote_api)};
    (void)module, (void)none;
    return PyCapsule_New(&other, "yamanote.c_api", NULL);
}

static PyObject *py_import(PyObject *module, PyObject *object) {
    const yamanote_api *api;
    (void)module;
    return PyLong_FromLong(yamanote_import(object, &api));
}

static PyMethodDef methods[] = {
    {"twice", py_twice, METH_VARARGS, NULL},
    {"never", py_never, METH_O, NULL},
    {"badly", py_badly, METH_O, NULL},
    {"cancel", py_cancel, METH_VARARGS, NULL},
    {"live", py_live, METH_O, NULL},
    {"drops", py_drops, METH_NOARGS, NULL},
    {"submit", py_submit, METH_VARARGS, NULL},
    {"after", py_after, METH_O, NULL},
    {"misuse", py_misuse, METH_O, NULL},
    {"clock", py_clock, METH_O, NULL},
    {"other_version", py_other_version, METH_NOARGS, NULL},
    {"import_api", py_import, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "yamanote_capsule", NULL, -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit_yamanote_capsule(void) {
    PyObject *module = PyModule_Create(&definition);
#ifdef Py_GIL_DISABLED
    if (module != NULL) {
        PyUnstable_Module_SetGIL(module, Py_MOD_GIL_NOT_USED);
    }
#endif
    return module;
}
