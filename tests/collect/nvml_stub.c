/* A stand-in for NVIDIA's libnvidia-ml.so.1, written from the public description of its calls.
 *
 * It answers from a text file named by $NVML_STUB_STATE, read anew at every call, one "key number" per line:
 *
 *   count 2                        GPUs
 *   gpu.0.power_mw 250000          a value; the keys stand beside the calls below
 *   gpu.0.lost 1                   every call on this GPU says that it is lost (15)
 *   fail.<symbol> 999              the call fails with this NVML error (13 = what a missing symbol gives)
 *   fail.<symbol>.1 3              the same for GPU 1 only
 *   delay.<symbol> 500             milliseconds; read again while waiting, so removing the line lets it go
 *   field.<id> 5                   a field value of every GPU; gpu.0.field.<id> of one; absent = not supported
 *   events 3                       Xid errors that have happened so far;
 *   event.0.gpu 1, event.0.xid 79  the first of them
 *
 *   gpu.0.minor 1                  number of its device file; absent = not supported
 *   gpu.0.part.2 7                 the third MIG device of a GPU is its GPU instance 7
 *
 * -DOLD_DRIVER leaves out what drivers before about release 470 do not export.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef unsigned int uint;
typedef unsigned long long ull;

enum { OK = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, TIMEOUT = 10, LOST = 15, MISMATCH = 25 };
enum { MAX_GPUS = 16, MAX_PARTS = 7, MAX_CALLS = 128 };

static char devices[MAX_GPUS];       /* a device handle is the address of its element */
static char parts[MAX_GPUS * MAX_PARTS];  /* and that of a MIG device of its own */
static char the_set;                 /* the one event set */
static int watched[MAX_GPUS];
static long long delivered;          /* events handed out, or older than the set */

static struct { char name[64]; long count; } calls[MAX_CALLS];

/* How often a symbol was called: for the tests. */
long nvml_stub_calls(const char *symbol) {
    for (int i = 0; i < MAX_CALLS; i++)
        if (strcmp(calls[i].name, symbol) == 0) return calls[i].count;
    return 0;
}

static void count_call(const char *symbol) {
    for (int i = 0; i < MAX_CALLS; i++) {
        if (calls[i].name[0] == 0) snprintf(calls[i].name, sizeof calls[i].name, "%s", symbol);
        if (strcmp(calls[i].name, symbol) == 0) { calls[i].count++; return; }
    }
}

static int lookup(const char *key, long long *value) {
    const char *path = getenv("NVML_STUB_STATE");
    FILE *file = path ? fopen(path, "r") : NULL;
    char name[128];
    long long number;
    int found = 0;
    while (file && fscanf(file, "%127s %lld", name, &number) == 2)
        if (strcmp(name, key) == 0) { *value = number; found = 1; }
    if (file) fclose(file);
    return found;
}

static long long number_of(const char *key, long long otherwise) {
    long long value;
    return lookup(key, &value) ? value : otherwise;
}

static int gpu_of(const void *device) { return (int)((const char *)device - devices); }

static int gpu_number(const void *device, const char *name, long long *value) {
    char key[128];
    snprintf(key, sizeof key, "gpu.%d.%s", gpu_of(device), name);
    return lookup(key, value);
}

/* Wait and fail as the state file says; gpu -1 = a call on no GPU. */
static int enter(const char *symbol, int gpu) {
    char key[128];
    long long code;
    struct timespec begun, now, step = {0, 2000000};
    count_call(symbol);
    clock_gettime(CLOCK_MONOTONIC, &begun);
    snprintf(key, sizeof key, "delay.%s", symbol);
    for (;;) {
        long long milliseconds = number_of(key, 0);
        clock_gettime(CLOCK_MONOTONIC, &now);
        if ((now.tv_sec - begun.tv_sec) * 1000 + (now.tv_nsec - begun.tv_nsec) / 1000000 >= milliseconds) break;
        nanosleep(&step, NULL);
    }
    snprintf(key, sizeof key, "fail.%s", symbol);
    if (lookup(key, &code)) return (int)code;
    if (gpu >= 0) {
        snprintf(key, sizeof key, "fail.%s.%d", symbol, gpu);
        if (lookup(key, &code)) return (int)code;
        snprintf(key, sizeof key, "gpu.%d.lost", gpu);
        if (number_of(key, 0)) return LOST;
    }
    return OK;
}

#define ENTER(gpu) do { int failed = enter(__func__, gpu); if (failed) return failed; } while (0)

/* A call that gives one number under one key; without the key it is not supported. */
#define ONE(symbol, type, key) \
    int symbol(void *device, type *out) { \
        long long value; \
        ENTER(gpu_of(device)); \
        if (!gpu_number(device, key, &value)) return NOT_SUPPORTED; \
        *out = (type)value; \
        return OK; \
    }

int nvmlInitWithFlags(uint flags) {
    (void)flags;
    ENTER(-1);
    delivered = number_of("events", 0);
    memset(watched, 0, sizeof watched);
    return OK;
}
int nvmlShutdown(void) { ENTER(-1); return OK; }
const char *nvmlErrorString(int code) { (void)code; return "an error of the stub"; }
int nvmlSystemGetDriverVersion(char *out, uint size) {
    ENTER(-1);
    snprintf(out, size, "%lld.0", number_of("driver", 570));
    return OK;
}
int nvmlDeviceGetCount_v2(uint *out) { ENTER(-1); *out = (uint)number_of("count", 1); return OK; }
int nvmlDeviceGetHandleByIndex_v2(uint index, void **out) {
    ENTER((int)index);
    if (index >= MAX_GPUS) return INVALID_ARGUMENT;
    *out = &devices[index];
    return OK;
}
int nvmlDeviceGetUUID(void *device, char *out, uint size) {
    int part = (int)((const char *)device - parts);
    if (part >= 0 && part < MAX_GPUS * MAX_PARTS) {
        ENTER(part / MAX_PARTS);
        snprintf(out, size, "MIG-%08x-0000-4000-8000-%012x", part / MAX_PARTS, part % MAX_PARTS);
        return OK;
    }
    ENTER(gpu_of(device));
    snprintf(out, size, "GPU-%d", gpu_of(device));
    return OK;
}
int nvmlDeviceGetName(void *device, char *out, uint size) {
    ENTER(gpu_of(device));
    snprintf(out, size, "NVIDIA Stub %d", gpu_of(device));
    return OK;
}

ONE(nvmlDeviceGetMinorNumber, uint, "minor")

struct utilisation { uint gpu, memory; };
int nvmlDeviceGetUtilizationRates(void *device, struct utilisation *out) {
    long long busy, memory;
    ENTER(gpu_of(device));
    if (!gpu_number(device, "util", &busy) || !gpu_number(device, "mem_util", &memory)) return NOT_SUPPORTED;
    out->gpu = (uint)busy;
    out->memory = (uint)memory;
    return OK;
}

static void memory_of(void *device, ull *total, ull *reserved, ull *used) {
    long long value = 0;
    *total = gpu_number(device, "mem_total", &value) ? (ull)value : 0;
    *reserved = gpu_number(device, "mem_reserved", &value) ? (ull)value : 0;
    *used = gpu_number(device, "mem_used", &value) ? (ull)value : 0;
}
struct memory_v1 { ull total, free, used; };
int nvmlDeviceGetMemoryInfo(void *device, struct memory_v1 *out) {
    ull total, reserved, used;
    ENTER(gpu_of(device));
    memory_of(device, &total, &reserved, &used);
    out->total = total;
    out->free = total - reserved - used;
    out->used = reserved + used; /* the old call counts the reserve as used */
    return OK;
}
#ifndef OLD_DRIVER
struct memory_v2 { uint version; ull total, reserved, free, used; };
int nvmlDeviceGetMemoryInfo_v2(void *device, struct memory_v2 *out) {
    ull total, reserved, used;
    ENTER(gpu_of(device));
    if (out->version != 0x02000028) return MISMATCH;
    memory_of(device, &total, &reserved, &used);
    out->total = total;
    out->reserved = reserved;
    out->free = total - reserved - used;
    out->used = used;
    return OK;
}
struct temperature { uint version, sensor; int temperature; };
int nvmlDeviceGetTemperatureV(void *device, struct temperature *out) {
    long long value;
    ENTER(gpu_of(device));
    if (out->version != 0x100000C) return MISMATCH;
    if (!gpu_number(device, "temp", &value)) return NOT_SUPPORTED;
    out->temperature = (int)value;
    return OK;
}
#endif
int nvmlDeviceGetTemperature(void *device, uint sensor, uint *out) {
    long long value;
    ENTER(gpu_of(device));
    if (sensor != 0 || !gpu_number(device, "temp", &value)) return NOT_SUPPORTED;
    *out = (uint)value;
    return OK;
}

ONE(nvmlDeviceGetPowerUsage, uint, "power_mw")
ONE(nvmlDeviceGetEnforcedPowerLimit, uint, "power_limit_mw")
ONE(nvmlDeviceGetTotalEnergyConsumption, ull, "energy_mj")
ONE(nvmlDeviceGetPerformanceState, uint, "pstate")
ONE(nvmlDeviceGetFanSpeed, uint, "fan")
ONE(nvmlDeviceGetRetiredPagesPendingStatus, uint, "retired_pending")
ONE(nvmlDeviceGetPcieReplayCounter, uint, "pcie_replays")
ONE(nvmlDeviceGetCurrentClocksThrottleReasons, ull, "reasons")
#ifndef OLD_DRIVER
ONE(nvmlDeviceGetCurrentClocksEventReasons, ull, "reasons")
#endif

/* A call that takes a number and looks up <prefix><number>. */
#define CHOICE(symbol, type, prefix) \
    int symbol(void *device, uint choice, type *out) { \
        char key[64]; \
        long long value; \
        ENTER(gpu_of(device)); \
        snprintf(key, sizeof key, prefix "%u", choice); \
        if (!gpu_number(device, key, &value)) return NOT_SUPPORTED; \
        *out = (type)value; \
        return OK; \
    }

CHOICE(nvmlDeviceGetClockInfo, uint, "clock_mhz.")             /* 1 SM, 2 memory */
CHOICE(nvmlDeviceGetPcieThroughput, uint, "pcie_kilobytes.")   /* 0 sent, 1 received */

struct violation { ull reference, violation; };
int nvmlDeviceGetViolationStatus(void *device, uint policy, struct violation *out) {
    char key[64];
    long long value;
    ENTER(gpu_of(device));
    snprintf(key, sizeof key, "held_ns.%u", policy); /* 0 power, 1 thermal */
    if (!gpu_number(device, key, &value)) return NOT_SUPPORTED;
    out->reference = 0;
    out->violation = (ull)value;
    return OK;
}
int nvmlDeviceGetTotalEccErrors(void *device, uint kind, uint life, ull *out) {
    char key[64];
    long long value;
    ENTER(gpu_of(device));
    snprintf(key, sizeof key, "ecc.%u.%u", kind, life); /* 0 corrected 1 not; 0 since reset 1 for life */
    if (!gpu_number(device, key, &value)) return NOT_SUPPORTED;
    *out = (ull)value;
    return OK;
}
int nvmlDeviceGetRetiredPages(void *device, uint cause, uint *count, ull *out) {
    char key[64];
    long long pages;
    ENTER(gpu_of(device));
    snprintf(key, sizeof key, "retired.%u", cause);
    if (!gpu_number(device, key, &pages)) return NOT_SUPPORTED;
    if (out == NULL || *count < (uint)pages) { *count = (uint)pages; return pages ? TOO_SMALL : OK; }
    for (long long i = 0; i < pages; i++) out[i] = (ull)i * 4096;
    *count = (uint)pages;
    return OK;
}
#ifndef OLD_DRIVER
int nvmlDeviceGetRemappedRows(void *device, uint *corrected, uint *uncorrected, uint *pending, uint *failed) {
    uint *outs[] = {corrected, uncorrected, pending, failed};
    ENTER(gpu_of(device));
    for (int i = 0; i < 4; i++) {
        char key[32];
        long long value;
        snprintf(key, sizeof key, "remap.%d", i);
        if (!gpu_number(device, key, &value)) return NOT_SUPPORTED;
        *outs[i] = (uint)value;
    }
    return OK;
}
int nvmlDeviceGetMigMode(void *device, uint *current, uint *pending) {
    long long value;
    ENTER(gpu_of(device));
    if (!gpu_number(device, "mig", &value)) return NOT_SUPPORTED;
    *current = *pending = (uint)value;
    return OK;
}
int nvmlDeviceGetMaxMigDeviceCount(void *device, uint *out) { ENTER(gpu_of(device)); *out = MAX_PARTS; return OK; }
static int part_number(int part, long long *value) {
    char key[32];
    snprintf(key, sizeof key, "part.%d", part % MAX_PARTS);
    return gpu_number(&devices[part / MAX_PARTS], key, value);
}
int nvmlDeviceGetMigDeviceHandleByIndex(void *device, uint index, void **out) {
    long long instance;
    ENTER(gpu_of(device));
    if (index >= MAX_PARTS) return INVALID_ARGUMENT;
    if (!part_number(gpu_of(device) * MAX_PARTS + (int)index, &instance)) return NOT_FOUND;
    *out = &parts[gpu_of(device) * MAX_PARTS + (int)index];
    return OK;
}
int nvmlDeviceGetGpuInstanceId(void *part, uint *out) {
    long long instance;
    int place = (int)((const char *)part - parts);
    ENTER(place / MAX_PARTS);
    if (!part_number(place, &instance)) return NOT_FOUND;
    *out = (uint)instance;
    return OK;
}
#endif

struct process { uint pid; ull memory; uint gpu_instance, compute_instance; };
static int processes(void *device, uint *count, struct process *out) {
    long long pids = 0;
    if (!gpu_number(device, "processes", &pids)) return NOT_SUPPORTED;
    if (pids && (out == NULL || *count < (uint)pids)) { *count = (uint)pids; return TOO_SMALL; }
    for (long long i = 0; i < pids; i++) out[i] = (struct process){(uint)(1000 + i), 1, 0, 0};
    *count = (uint)pids;
    return OK;
}
int nvmlDeviceGetComputeRunningProcesses_v2(void *device, uint *count, struct process *out) {
    ENTER(gpu_of(device));
    return processes(device, count, out);
}
#ifndef OLD_DRIVER
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, uint *count, struct process *out) {
    ENTER(gpu_of(device));
    return processes(device, count, out);
}
#endif

struct field {
    uint id, scope;
    long long at, latency;
    uint type;
    int result;
    union { double d; uint ui; unsigned long ul; ull ll; long long sll; int si; unsigned short us; } value;
};
int nvmlDeviceGetFieldValues(void *device, int count, struct field *fields) {
    ENTER(gpu_of(device));
    for (int i = 0; i < count; i++) {
        char key[64];
        long long value;
        snprintf(key, sizeof key, "field.%u", fields[i].id);
        if (gpu_number(device, key, &value) || lookup(key, &value)) {
            /* memory temperature (82) is a 32-bit number, the counters are 64-bit ones */
            fields[i].type = fields[i].id == 82 ? 1 : 3;
            if (fields[i].type == 1) fields[i].value.ui = (uint)value;
            else fields[i].value.ll = (ull)value;
            fields[i].result = OK;
        } else {
            fields[i].result = NOT_SUPPORTED;
        }
    }
    return OK;
}
int nvmlDeviceGetNvLinkState(void *device, uint link, uint *active) {
    long long links = 0;
    ENTER(gpu_of(device));
    gpu_number(device, "links", &links);
    if (link >= links) return INVALID_ARGUMENT;
    *active = link != 1; /* the second link is down */
    return OK;
}
int nvmlDeviceGetNvLinkErrorCounter(void *device, uint link, uint counter, ull *out) {
    char key[64];
    long long value;
    ENTER(gpu_of(device));
    if (link == 1) return NOT_SUPPORTED;
    snprintf(key, sizeof key, "link_errors.%u", counter);
    if (!gpu_number(device, key, &value)) return NOT_SUPPORTED;
    *out = (ull)value;
    return OK;
}

int nvmlEventSetCreate(void **out) {
    ENTER(-1);
    *out = &the_set;
    memset(watched, 0, sizeof watched);
    return OK;
}
int nvmlEventSetFree(void *set) { (void)set; ENTER(-1); return OK; }
int nvmlDeviceRegisterEvents(void *device, ull types, void *set) {
    (void)set;
    ENTER(gpu_of(device));
    if (types != 8) return NOT_SUPPORTED;
    watched[gpu_of(device)] = 1;
    return OK;
}
#ifndef OLD_DRIVER
struct event { void *device; ull type, data; uint gpu_instance, compute_instance; };
int nvmlEventSetWait_v2(void *set, struct event *out, uint milliseconds) {
    (void)set;
    ENTER(-1);
    for (long long events = number_of("events", 0); delivered < events; delivered++) {
        char key[64];
        long long gpu;
        snprintf(key, sizeof key, "event.%lld.gpu", delivered);
        gpu = number_of(key, 0);
        if (!watched[gpu]) continue;
        snprintf(key, sizeof key, "event.%lld.xid", delivered);
        *out = (struct event){&devices[gpu], 8, (ull)number_of(key, 0), 0, 0};
        delivered++;
        return OK;
    }
    for (int gpu = 0; gpu < MAX_GPUS; gpu++) {
        char key[64];
        snprintf(key, sizeof key, "gpu.%d.lost", gpu);
        if (watched[gpu] && number_of(key, 0)) return LOST; /* one lost GPU spoils the set for all */
    }
    struct timespec wait = {milliseconds / 1000, (milliseconds % 1000) * 1000000L};
    nanosleep(&wait, NULL);
    return TIMEOUT;
}
#endif
