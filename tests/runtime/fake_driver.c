/* The part of the CUDA driver that runtime/backends/cuda.py calls, on the memory of the host, so that both bindings can be
 * driven on a machine without a GPU:  cc -shared -fPIC -o libcuda.so.1 fake_driver.c
 *
 * Work is done at once, in order. Captured copies are kept and done at each launch. Every function that needs a
 * current context fails without one; `fake_live` counts what was made and not freed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_CONTEXT = 201, INVALID_HANDLE = 400, NOT_FOUND = 500 };
enum { LARGEST = 1 << 30, MOST_COPIES = 64, ALIGNMENT = 256 };

typedef int status;
typedef uint64_t address;
struct copy { void *to; const void *from; size_t bytes; };
struct graph { int copies; struct copy copy[MOST_COPIES]; };
struct stream { struct graph *capturing; };
struct event { double milliseconds; int timed; };

static __thread int current;
static double clock_ms;
int fake_live;

#define NEEDS_CONTEXT if (!current) return INVALID_CONTEXT

static status make(void **made, size_t bytes) {
    NEEDS_CONTEXT;
    if (bytes > LARGEST) return OUT_OF_MEMORY;
    size_t whole = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    *made = aligned_alloc(ALIGNMENT, whole);
    memset(*made, 0xA5, whole);
    fake_live++;
    return OK;
}

static status drop(void *made) {
    NEEDS_CONTEXT;
    free(made);
    fake_live--;
    return OK;
}

static status copy(void *to, const void *from, size_t bytes, struct stream *stream) {
    NEEDS_CONTEXT;
    if (!stream) return INVALID_VALUE;
    if (stream->capturing) {
        stream->capturing->copy[stream->capturing->copies++] = (struct copy){to, from, bytes};
        return OK;
    }
    memmove(to, from, bytes);
    clock_ms += 1;
    return OK;
}

status cuInit(unsigned flags) { return flags ? INVALID_VALUE : OK; }
status cuGetErrorString(status error, const char **text) { return *text = "as the test wanted it", OK; }
status cuGetErrorName(status error, const char **text) { return *text = "CUDA_ERROR_FAKE", OK; }
status cuDriverGetVersion(int *version) {
    return *version = getenv("FAKE_CUDA") ? atoi(getenv("FAKE_CUDA")) : 13000, OK;
}
status cuDeviceGetCount(int *count) { return *count = getenv("FAKE_NO_GPU") ? 0 : 1, OK; }
status cuDeviceGet(int *device, int ordinal) { return *device = ordinal, OK; }
status cuDeviceGetName(char *name, int length, int device) { return snprintf(name, length, "Fake GPU"), OK; }
status cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 8 : attribute == 76 ? 7 : attribute == 18 ? getenv("FAKE_INTEGRATED") != NULL : attribute == 16 ? 16 : 0;
    return OK;
}
status cuDeviceComputeCapability(int *major, int *minor, int device) { return *major = 8, *minor = 7, OK; }
status cuDevicePrimaryCtxRetain(void **context, int device) { return *context = &clock_ms, fake_live++, OK; }
status cuDevicePrimaryCtxRelease_v2(int device) { return fake_live--, OK; }
status cuCtxPushCurrent_v2(void *context) { return current++, OK; }
status cuCtxPopCurrent_v2(void **context) {
    NEEDS_CONTEXT;
    if (context) *context = &clock_ms;
    return current--, OK;
}
status cuCtxGetCurrent(void **context) { return *context = current ? &clock_ms : NULL, OK; }
status cuCtxGetDevice(int *device) { NEEDS_CONTEXT; return *device = 0, OK; }

status cuMemAlloc_v2(void **memory, size_t bytes) { return make(memory, bytes); }
status cuMemFree_v2(void *memory) { return drop(memory); }
status cuMemHostAlloc(void **memory, size_t bytes, unsigned flags) { return flags != 2 ? INVALID_VALUE : make(memory, bytes); }
status cuMemFreeHost(void *memory) { return drop(memory); }
status cuMemHostGetDevicePointer_v2(void **device, void *host, unsigned flags) { NEEDS_CONTEXT; return *device = host, OK; }
status cuMemcpyHtoDAsync_v2(void *to, const void *from, size_t n, struct stream *s) { return copy(to, from, n, s); }
status cuMemcpyDtoHAsync_v2(void *to, const void *from, size_t n, struct stream *s) { return copy(to, from, n, s); }
status cuMemcpyDtoDAsync_v2(void *to, const void *from, size_t n, struct stream *s) { return copy(to, from, n, s); }

status cuStreamCreate(struct stream **stream, unsigned flags) {
    NEEDS_CONTEXT;
    if (flags != 1) return INVALID_VALUE;
    *stream = calloc(1, sizeof **stream);
    return OK;
}
status cuStreamDestroy_v2(struct stream *stream) { free(stream); return OK; }
status cuStreamSynchronize(struct stream *stream) { NEEDS_CONTEXT; return stream ? OK : INVALID_VALUE; }
status cuStreamWaitEvent(struct stream *s, struct event *e, unsigned flags) { NEEDS_CONTEXT; return s && e ? OK : INVALID_VALUE; }
status cuEventCreate(struct event **event, unsigned flags) { NEEDS_CONTEXT; if (!(flags & 1)) return 1; /* it would spin */ *event = calloc(1, sizeof **event); (*event)->timed = !(flags & 2); return OK; }
status cuEventDestroy_v2(struct event *event) { free(event); return OK; }
status cuEventRecord(struct event *event, struct stream *stream) { NEEDS_CONTEXT; return event->milliseconds = clock_ms, OK; }
status cuEventSynchronize(struct event *event) { NEEDS_CONTEXT; return event ? OK : INVALID_VALUE; }
status cuEventElapsedTime(float *milliseconds, struct event *start, struct event *stop) {
    NEEDS_CONTEXT;
    if (!start->timed || !stop->timed) return INVALID_HANDLE;
    return *milliseconds = (float)(stop->milliseconds - start->milliseconds), OK;
}

status cuEventElapsedTime_v2(float *milliseconds, struct event *start, struct event *stop) {
    return cuEventElapsedTime(milliseconds, start, stop);
}

status cuStreamBeginCapture_v2(struct stream *stream, int mode) {
    NEEDS_CONTEXT;
    if (mode != 1 || stream->capturing) return INVALID_VALUE;
    stream->capturing = calloc(1, sizeof(struct graph));
    fake_live++;
    return OK;
}
status cuStreamEndCapture(struct stream *stream, struct graph **graph) {
    NEEDS_CONTEXT;
    if (!stream->capturing) return INVALID_VALUE;
    *graph = stream->capturing;
    stream->capturing = NULL;
    return OK;
}
status cuGraphInstantiateWithFlags(struct graph **made, struct graph *graph, unsigned long long flags) {
    NEEDS_CONTEXT;
    *made = malloc(sizeof **made);
    **made = *graph;
    fake_live++;
    return OK;
}
status cuGraphDestroy(struct graph *graph) { return drop(graph); }
status cuGraphExecDestroy(struct graph *graph) { return drop(graph); }
status cuGraphLaunch(struct graph *graph, struct stream *stream) {
    NEEDS_CONTEXT;
    for (int i = 0; i < graph->copies; i++) memmove(graph->copy[i].to, graph->copy[i].from, graph->copy[i].bytes);
    clock_ms += 1;
    return stream ? OK : INVALID_VALUE;
}

/* cuda-bindings asks for every function by its unversioned name. */
status cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags, int *found) {
    Dl_info own;
    char name[128];
    dladdr((void *)cuInit, &own);
    void *library = dlopen(own.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    const char *suffixes[] = {"_v2", ""};
    *function = NULL;
    for (int i = 0; i < 2 && !*function; i++) {
        snprintf(name, sizeof name, "%s%s", symbol, suffixes[i]);
        *function = dlsym(library, name);
    }
    if (found) *found = *function ? 0 : 1;
    return *function ? OK : NOT_FOUND;
}
status cuGetProcAddress(const char *symbol, void **function, int version, uint64_t flags) {
    return cuGetProcAddress_v2(symbol, function, version, flags, NULL);
}
