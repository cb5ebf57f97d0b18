/* A CUDA driver without a GPU: device memory is host memory, and launches are passed to a function in Python.

   Only the functions that numba-cuda, cuda-core and this project call are here.  cuGetProcAddress returns NULL for
   others, so that the caller reports their names.  Memory is never reused, and there is a gap after each allocation.
   An address that was freed or lies outside of an array therefore belongs to no live allocation. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <sys/mman.h>

typedef uint64_t address;
typedef void *handle;

enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101, INVALID_CONTEXT = 201,
       NOT_FOUND = 500, LAUNCH_FAILED = 719 };

#define ARENA_SIZE (1ull << 36)
#define ALIGNMENT 512ull
#define GAP 512ull
#define CONTEXT ((handle)0x1000)
#define POOL ((handle)0x1100)

/* --- counts of calls ------------------------------------------------------------------------------------------ */

#define MAX_FUNCTIONS 256
static struct { const char *name; long calls; } functions[MAX_FUNCTIONS];
static int n_functions;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int register_function(const char *name)
{
    pthread_mutex_lock(&lock);
    int slot = n_functions < MAX_FUNCTIONS ? n_functions++ : MAX_FUNCTIONS - 1;
    functions[slot].name = name;
    pthread_mutex_unlock(&lock);
    return slot;
}

#define COUNT                                                                                                        \
    do {                                                                                                             \
        static int slot = -1;                                                                                        \
        if (slot < 0) slot = register_function(__func__);                                                            \
        functions[slot].calls++;                                                                                     \
    } while (0)

/* Write "name calls" lines; return their length. */
int emulator_calls(char *text, int size)
{
    int length = 0;
    text[0] = 0;
    for (int k = 0; k < n_functions && length < size - 80; k++)
        if (functions[k].calls) length += sprintf(text + length, "%s %ld\n", functions[k].name, functions[k].calls);
    return length;
}

void emulator_reset_calls(void)
{
    for (int k = 0; k < n_functions; k++) functions[k].calls = 0;
}

/* --- memory --------------------------------------------------------------------------------------------------- */

typedef struct { address begin, end; } range;

static char *arena;
static address next_address;
static range *live;  /* sorted, because addresses only grow */
static long n_live, capacity, changes;

address emulator_arena(void)
{
    if (!arena) {
        arena = mmap(NULL, ARENA_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (arena == MAP_FAILED) abort();
        next_address = ((address)arena + ALIGNMENT) & ~(ALIGNMENT - 1);
    }
    return (address)arena;
}

long emulator_live(range **ranges) { *ranges = live; return n_live; }
long emulator_changes(void) { return changes; }

static int allocate(address *result, size_t size)
{
    if (!size) return INVALID_VALUE;
    pthread_mutex_lock(&lock);
    emulator_arena();
    int status = OUT_OF_MEMORY;
    if (size < ARENA_SIZE && next_address + size + GAP < (address)arena + ARENA_SIZE) {
        if (n_live == capacity) live = realloc(live, sizeof(range) * (capacity = capacity ? 2 * capacity : 1024));
        live[n_live++] = (range){next_address, next_address + size};
        changes++;
        memset((void *)next_address, 0xFF, size);  /* NaN, or -1: a read before the first write shows */
        *result = next_address;
        next_address = (next_address + size + GAP + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
        status = SUCCESS;
    }
    pthread_mutex_unlock(&lock);
    return status;
}

/* Return the number of the live range that contains an address, or -1. */
static long find(address at)
{
    long low = 0, high = n_live;
    while (low < high) {
        long middle = (low + high) / 2;
        if (live[middle].end <= at) low = middle + 1; else high = middle;
    }
    return low < n_live && live[low].begin <= at ? low : -1;
}

static int release(address at)
{
    if (!at) return SUCCESS;
    pthread_mutex_lock(&lock);
    long k = find(at);
    int status = INVALID_VALUE;
    if (k >= 0 && live[k].begin == at) {
        address page = (at + 4095) & ~4095ull, end = live[k].end & ~4095ull;
        if (end > page) madvise((void *)page, end - page, MADV_DONTNEED);
        memmove(live + k, live + k + 1, sizeof(range) * (n_live - k - 1));
        n_live--;
        changes++;
        status = SUCCESS;
    }
    pthread_mutex_unlock(&lock);
    return status;
}

/* Return whether `size` bytes from an address on lie within one live allocation. */
static int is_inside(address at, size_t size)
{
    long k = find(at);
    return !size || (k >= 0 && at + size <= live[k].end);
}

int cuMemAlloc(address *at, size_t size) { COUNT; return allocate(at, size); }
int cuMemAllocAsync(address *at, size_t size, handle stream) { COUNT; return allocate(at, size); }
int cuMemAllocFromPoolAsync(address *at, size_t size, handle pool, handle stream) { COUNT; return allocate(at, size); }
int cuMemFree(address at) { COUNT; return release(at); }
int cuMemFreeAsync(address at, handle stream) { COUNT; return release(at); }
int cuDeviceGetDefaultMemPool(handle *pool, int device) { COUNT; *pool = POOL; return SUCCESS; }
int cuDeviceGetMemPool(handle *pool, int device) { COUNT; *pool = POOL; return SUCCESS; }

int cuMemGetInfo(size_t *available, size_t *total)
{
    COUNT;
    *total = ARENA_SIZE;
    *available = ARENA_SIZE - (next_address - emulator_arena());
    return SUCCESS;
}

int cuMemGetAddressRange(address *begin, size_t *size, address at)
{
    COUNT;
    long k = find(at);
    if (k < 0) return INVALID_VALUE;
    if (begin) *begin = live[k].begin;
    if (size) *size = live[k].end - live[k].begin;
    return SUCCESS;
}

static int copy(void *target, const void *source, size_t size, int target_on_device, int source_on_device)
{
    if (target_on_device && !is_inside((address)target, size)) return INVALID_VALUE;
    if (source_on_device && !is_inside((address)source, size)) return INVALID_VALUE;
    memmove(target, source, size);
    return SUCCESS;
}

int cuMemcpyHtoD(address to, const void *from, size_t n) { COUNT; return copy((void *)to, from, n, 1, 0); }
int cuMemcpyDtoH(void *to, address from, size_t n) { COUNT; return copy(to, (void *)from, n, 0, 1); }
int cuMemcpyDtoD(address to, address from, size_t n) { COUNT; return copy((void *)to, (void *)from, n, 1, 1); }
int cuMemcpyHtoDAsync(address to, const void *from, size_t n, handle s) { COUNT; return copy((void *)to, from, n, 1, 0); }
int cuMemcpyDtoHAsync(void *to, address from, size_t n, handle s) { COUNT; return copy(to, (void *)from, n, 0, 1); }
int cuMemcpyDtoDAsync(address to, address from, size_t n, handle s)
{
    COUNT;
    return copy((void *)to, (void *)from, n, 1, 1);
}
int cuMemcpyAsync(address to, address from, size_t n, handle s) { COUNT; return copy((void *)to, (void *)from, n, 0, 0); }

static int set8(address at, unsigned char value, size_t n)
{
    if (!is_inside(at, n)) return INVALID_VALUE;
    memset((void *)at, value, n);
    return SUCCESS;
}

static int set32(address at, uint32_t value, size_t n)
{
    if (at % 4 || !is_inside(at, 4 * n)) return INVALID_VALUE;
    for (size_t k = 0; k < n; k++) ((uint32_t *)at)[k] = value;
    return SUCCESS;
}

int cuMemsetD8(address at, unsigned char value, size_t n) { COUNT; return set8(at, value, n); }
int cuMemsetD8Async(address at, unsigned char value, size_t n, handle stream) { COUNT; return set8(at, value, n); }
int cuMemsetD32(address at, uint32_t value, size_t n) { COUNT; return set32(at, value, n); }
int cuMemsetD32Async(address at, uint32_t value, size_t n, handle stream) { COUNT; return set32(at, value, n); }

static int pointer_attribute(void *value, int attribute, address at)
{
    long k = find(at);
    if (k < 0) return INVALID_VALUE;
    switch (attribute) {
    case 1: *(handle *)value = CONTEXT; return SUCCESS;  /* context */
    case 2: *(unsigned *)value = 2; return SUCCESS;  /* memory type: device */
    case 3: *(address *)value = at; return SUCCESS;  /* device pointer */
    case 7: *(uint64_t *)value = k; return SUCCESS;  /* buffer */
    case 8: *(unsigned *)value = 0; return SUCCESS;  /* managed */
    case 9: *(int *)value = 0; return SUCCESS;  /* device */
    case 11: *(address *)value = live[k].begin; return SUCCESS;
    case 12: *(size_t *)value = live[k].end - live[k].begin; return SUCCESS;
    default: return INVALID_VALUE;
    }
}

int cuPointerGetAttribute(void *value, int attribute, address at) { COUNT; return pointer_attribute(value, attribute, at); }

int cuPointerGetAttributes(unsigned n, int *attributes, void **values, address at)
{
    COUNT;
    for (unsigned k = 0; k < n; k++) pointer_attribute(values[k], attributes[k], at);
    return SUCCESS;
}

/* --- device and context --------------------------------------------------------------------------------------- */

static __thread handle contexts[64];
static __thread int depth;

int cuInit(unsigned flags) { COUNT; return SUCCESS; }
int cuDriverGetVersion(int *version) { COUNT; *version = 13000; return SUCCESS; }
int cuDeviceGetCount(int *count) { COUNT; *count = 1; return SUCCESS; }
int cuDeviceGet(int *device, int number) { COUNT; *device = number; return number ? INVALID_DEVICE : SUCCESS; }
int cuDeviceGetName(char *name, int size, int device) { COUNT; snprintf(name, size, "emulated"); return SUCCESS; }
int cuDeviceGetUuid(char *uuid, int device) { COUNT; memset(uuid, 1, 16); return SUCCESS; }
int cuDeviceTotalMem(size_t *size, int device) { COUNT; *size = ARENA_SIZE; return SUCCESS; }

/* The values are those of an H100. */
int cuDeviceGetAttribute(int *value, int attribute, int device)
{
    static const int known[][2] = {
        {1, 1024}, {2, 1024}, {3, 1024}, {4, 64}, {5, 2147483647}, {6, 65535}, {7, 65535}, {8, 49152}, {10, 32},
        {12, 65536}, {16, 132}, {31, 1}, {38, 50 << 20}, {39, 2048}, {41, 1}, {75, 9}, {76, 0}, {81, 233472},
        {82, 65536}, {95, 1}, {97, 232448}, {106, 32}, {115, 1}};
    COUNT;
    *value = 0;
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
        if (known[k][0] == attribute) *value = known[k][1];
    return SUCCESS;
}

int cuDevicePrimaryCtxRetain(handle *context, int device) { COUNT; *context = CONTEXT; return SUCCESS; }
int cuDevicePrimaryCtxRelease(int device) { COUNT; return SUCCESS; }
int cuDevicePrimaryCtxReset(int device) { COUNT; return SUCCESS; }
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) { COUNT; *flags = 0; *active = 1; return SUCCESS; }
int cuCtxGetCurrent(handle *context) { COUNT; *context = depth ? contexts[depth - 1] : NULL; return SUCCESS; }
int cuCtxPushCurrent(handle context) { COUNT; contexts[depth++ % 64] = context; return SUCCESS; }

int cuCtxSetCurrent(handle context)
{
    COUNT;
    if (depth) depth--;
    if (context) contexts[depth++] = context;
    return SUCCESS;
}

int cuCtxPopCurrent(handle *context)
{
    COUNT;
    if (!depth) return INVALID_CONTEXT;
    *context = contexts[--depth];
    return SUCCESS;
}

int cuCtxGetDevice(int *device) { COUNT; *device = 0; return depth ? SUCCESS : INVALID_CONTEXT; }
int cuCtxGetFlags(unsigned *flags) { COUNT; *flags = 0; return SUCCESS; }
int cuCtxGetId(handle context, uint64_t *id) { COUNT; *id = 1; return SUCCESS; }
int cuCtxGetApiVersion(handle context, unsigned *version) { COUNT; *version = 13000; return SUCCESS; }
int cuCtxGetStreamPriorityRange(int *least, int *greatest) { COUNT; *least = 0; *greatest = -5; return SUCCESS; }
int cuCtxSynchronize(void) { COUNT; return SUCCESS; }

/* --- streams and events: every call is complete when it returns ------------------------------------------------ */

static handle new_handle(void)
{
    static address last = 0x100000;
    return (handle)__sync_add_and_fetch(&last, 16);
}

int cuStreamCreate(handle *stream, unsigned flags) { COUNT; *stream = new_handle(); return SUCCESS; }
int cuStreamCreateWithPriority(handle *stream, unsigned flags, int priority) { COUNT; *stream = new_handle(); return SUCCESS; }
int cuStreamDestroy(handle stream) { COUNT; return SUCCESS; }
int cuStreamSynchronize(handle stream) { COUNT; return SUCCESS; }
int cuStreamQuery(handle stream) { COUNT; return SUCCESS; }
int cuStreamWaitEvent(handle stream, handle event, unsigned flags) { COUNT; return SUCCESS; }
int cuStreamGetCtx(handle stream, handle *context) { COUNT; *context = CONTEXT; return SUCCESS; }
int cuStreamGetDevice(handle stream, int *device) { COUNT; *device = 0; return SUCCESS; }
int cuStreamGetFlags(handle stream, unsigned *flags) { COUNT; *flags = 0; return SUCCESS; }
int cuStreamGetPriority(handle stream, int *priority) { COUNT; *priority = 0; return SUCCESS; }
int cuStreamIsCapturing(handle stream, int *status) { COUNT; *status = 0; return SUCCESS; }
int cuStreamGetCaptureInfo(handle stream, int *status, uint64_t *id) { COUNT; *status = 0; return SUCCESS; }
int cuEventCreate(handle *event, unsigned flags) { COUNT; *event = new_handle(); return SUCCESS; }
int cuEventDestroy(handle event) { COUNT; return SUCCESS; }
int cuEventRecord(handle event, handle stream) { COUNT; return SUCCESS; }
int cuEventSynchronize(handle event) { COUNT; return SUCCESS; }
int cuEventQuery(handle event) { COUNT; return SUCCESS; }
int cuEventElapsedTime(float *time, handle first, handle second) { COUNT; *time = 0; return SUCCESS; }

/* --- code and launches ---------------------------------------------------------------------------------------- */

typedef struct { char *image; } library;
typedef struct { library *library; char *name; } kernel;
typedef int (*launcher)(kernel *, const char *image, const char *name, void **arguments, const unsigned *size);

static launcher launch_in_python;
void emulator_set_launcher(launcher function) { launch_in_python = function; }

/* The image is PTX: a string. */
int cuLibraryLoadData(handle *result, const char *image, void *a, void *b, unsigned n, void *c, void *d, unsigned m)
{
    COUNT;
    library *loaded = malloc(sizeof *loaded);
    loaded->image = strdup(image);
    *result = loaded;
    return SUCCESS;
}

int cuLibraryUnload(handle unloaded) { COUNT; return SUCCESS; }
int cuLibraryGetModule(handle *module, handle from) { COUNT; *module = from; return SUCCESS; }

int cuLibraryGetKernel(handle *result, library *from, const char *name)
{
    COUNT;
    if (!strstr(from->image, name)) return NOT_FOUND;
    kernel *found = malloc(sizeof *found);
    *found = (kernel){from, strdup(name)};
    *result = found;
    return SUCCESS;
}

int cuKernelGetFunction(handle *function, handle from) { COUNT; *function = from; return SUCCESS; }
int cuKernelGetLibrary(handle *result, kernel *of) { COUNT; *result = of->library; return SUCCESS; }
int cuKernelGetName(const char **name, kernel *of) { COUNT; *name = of->name; return SUCCESS; }

static int kernel_attribute(int attribute) { return attribute == 0 ? 1024 : attribute == 4 ? 32 : 0; }
int cuKernelGetAttribute(int *value, int attribute, handle of, int device) { COUNT; *value = kernel_attribute(attribute); return SUCCESS; }
int cuFuncGetAttribute(int *value, int attribute, handle of) { COUNT; *value = kernel_attribute(attribute); return SUCCESS; }
int cuKernelSetAttribute(int attribute, int value, handle of, int device) { COUNT; return SUCCESS; }
int cuFuncSetAttribute(handle of, int attribute, int value) { COUNT; return SUCCESS; }

static int launch(kernel *function, const unsigned *size, void **arguments)
{
    for (int k = 0; k < 6; k++) if (!size[k]) return INVALID_VALUE;
    if ((uint64_t)size[3] * size[4] * size[5] > 1024) return INVALID_VALUE;
    if (!launch_in_python) return SUCCESS;
    return launch_in_python(function, function->library->image, function->name, arguments, size) ? LAUNCH_FAILED : SUCCESS;
}

int cuLaunchKernel(kernel *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, handle stream, void **arguments, void **extra)
{
    COUNT;
    unsigned size[7] = {gx, gy, gz, bx, by, bz, shared};
    return launch(function, size, arguments);
}

typedef struct { unsigned size[7]; handle stream; void *attributes; unsigned n_attributes; } configuration;

int cuLaunchKernelEx(const configuration *chosen, kernel *function, void **arguments, void **extra)
{
    COUNT;
    return launch(function, chosen->size, arguments);
}

/* --- errors and addresses of functions ------------------------------------------------------------------------- */

int cuGetErrorName(int error, const char **name)
{
    *name = error == LAUNCH_FAILED ? "CUDA_ERROR_LAUNCH_FAILED" : error == INVALID_VALUE ? "CUDA_ERROR_INVALID_VALUE"
          : error == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_UNKNOWN";
    return SUCCESS;
}

int cuGetErrorString(int error, const char **text)
{
    *text = error == LAUNCH_FAILED ? "the emulator stopped the kernel; its findings say why" : "error of the emulator";
    return SUCCESS;
}

int cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *status)
{
    static void *self;
    if (!self) {
        Dl_info info;
        dladdr((void *)emulator_arena, &info);
        self = dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    }
    *function = !strcmp(name, "cuGetProcAddress") ? (void *)cuGetProcAddress_v2 : dlsym(self, name);
    if (status) *status = *function ? 0 : 1;
    return *function ? SUCCESS : NOT_FOUND;
}

int cuGetProcAddress(const char *name, void **function, int version, uint64_t flags)
{
    return cuGetProcAddress_v2(name, function, version, flags, NULL);
}
