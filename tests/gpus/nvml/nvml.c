// SPDX-License-Identifier: Apache-2.0
// A small libnvidia-ml.so.1 for tests: the functions that the daemon calls, with answers from a text file.
//
// FLUXGYM_TEST_NVML names the file. Every call reads it again, so a test can change it while programs run:
//
//     gpu UUID TOTAL USED UTILIZATION TEMPERATURE MILLIWATTS NAME...
//     limit UUID MILLIWATTS    the power limit that is in force
//     clock UUID MHZ           the clock of its multiprocessors
//     reasons UUID MASK        what limits its clocks, nvmlClocksEventReasons as a decimal number
//     ecc UUID COUNT           volatile uncorrected ECC errors
//     process UUID PID         a compute process; `process UUID 0` reports an empty list
//     client UUID PID          a process that computes through the MPS server
//     xid UUID NUMBER          an Xid event, reported once to each program that registered before this line was added
//     fails UUID CODE          each call about this GPU returns this nvmlReturn_t
//     lost UUID                the GPU fell off the bus: each call about it returns NVML_ERROR_GPU_IS_LOST
//     error FUNCTION CODE      this function returns this nvmlReturn_t
//     hang FUNCTION [FILE]     this function never returns: it waits for a signal, or in the kernel for FILE
//
// The index of a GPU is that of its line. The GPU does not report a value of -1, or one that has no line
// (NVML_ERROR_NOT_SUPPORTED).
// Signatures and codes: docs.nvidia.com, NVML API reference.

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SUCCESS = 0,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9,
    TIMEOUT = 10,
    GPU_IS_LOST = 15,
    LIB_RM_VERSION_MISMATCH = 18,
};

typedef struct {
    char uuid[96];
    long long total, used;
    int utilization, temperature, milliwatts;
    char name[96];
} Gpu;

typedef struct {
    unsigned long long total, free, used;
} Memory;

typedef struct {
    unsigned int gpu, memory;
} Utilization;

typedef struct {
    unsigned int pid;
    unsigned long long used_memory;
    unsigned int gpu_instance, compute_instance;
} Process;

typedef struct {
    void *device;
    unsigned long long type, data;
    unsigned int gpu_instance, compute_instance;
} Event;

enum { XID_CRITICAL_ERROR = 8 };

static FILE *state(void) {
    const char *path = getenv("FLUXGYM_TEST_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) {
        fprintf(stderr, "FLUXGYM_TEST_NVML names no readable file\n");
        abort();
    }
    return file;
}

// Does what the file says about a function: hangs, or returns an error's code, or SUCCESS.
static int asked(const char *function) {
    char line[512], name[64], path[256];
    int code, result = SUCCESS;
    FILE *file = state();
    while (fgets(line, sizeof line, file)) {
        int found = sscanf(line, "hang %63s %255s", name, path);
        if (found >= 1 && !strcmp(name, function)) {
            if (found == 2)
                open(path, O_RDONLY);
            for (;;)
                pause();
        }
        if (sscanf(line, "error %63s %d", name, &code) == 2 && !strcmp(name, function))
            result = code;
    }
    fclose(file);
    return result;
}

// Returns the number of GPUs, and fills in the one with this index if `gpu` is not NULL.
static unsigned int read_gpus(unsigned int index, Gpu *gpu) {
    char line[512];
    unsigned int count = 0;
    FILE *file = state();
    while (fgets(line, sizeof line, file)) {
        Gpu found;
        if (sscanf(line, "gpu %95s %lld %lld %d %d %d %95[^\n]", found.uuid, &found.total, &found.used,
                   &found.utilization, &found.temperature, &found.milliwatts, found.name) != 7)
            continue;
        if (gpu && count == index)
            *gpu = found;
        count++;
    }
    fclose(file);
    return count;
}

// Reads the values of the lines `WORD UUID VALUE` in order, `room` of them at most, and returns their number.
static unsigned int read_values(const char *word, const char *uuid, long long *values, unsigned int room) {
    char line[512], name[64], of[96];
    long long value;
    unsigned int count = 0;
    FILE *file = state();
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%63s %95s %lld", name, of, &value) != 3 || strcmp(name, word) || strcmp(of, uuid))
            continue;
        if (count < room)
            values[count] = value;
        count++;
    }
    fclose(file);
    return count;
}

// Returns the code that each call about this GPU returns.
static int state_of(const char *uuid) {
    char line[512], of[96];
    int code, result = SUCCESS;
    FILE *file = state();
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "lost %95s", of) == 1 && !strcmp(of, uuid))
            result = GPU_IS_LOST;
        if (sscanf(line, "fails %95s %d", of, &code) == 2 && !strcmp(of, uuid))
            result = code;
    }
    fclose(file);
    return result;
}

// Finds a GPU by its handle. A handle is the index plus one, so a GPU keeps it, and NULL is no handle.
static int find(const void *device, const char *function, Gpu *gpu) {
    unsigned int index = (unsigned int)((size_t)device - 1);
    int result = asked(function);
    if (result == SUCCESS)
        result = read_gpus(index, gpu) <= index ? GPU_IS_LOST : state_of(gpu->uuid);
    return result;
}

static int copy(char *buffer, unsigned int length, const char *text) {
    if (strlen(text) >= length)
        return INSUFFICIENT_SIZE;
    strcpy(buffer, text);
    return SUCCESS;
}

int nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
    return asked("nvmlInitWithFlags");
}

int nvmlShutdown(void) { return asked("nvmlShutdown"); }

const char *nvmlErrorString(int code) {
    switch (code) {
    case DRIVER_NOT_LOADED:
        return "Driver Not Loaded";
    case GPU_IS_LOST:
        return "GPU is lost";
    case LIB_RM_VERSION_MISMATCH:
        return "Driver/library version mismatch";
    default:
        return "Unknown Error";
    }
}

int nvmlDeviceGetCount_v2(unsigned int *count) {
    *count = read_gpus(0, NULL);
    return asked("nvmlDeviceGetCount_v2");
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    Gpu gpu;
    *device = (void *)(size_t)(index + 1);
    return index < read_gpus(0, NULL) ? find(*device, "nvmlDeviceGetHandleByIndex_v2", &gpu) : INVALID_ARGUMENT;
}

int nvmlDeviceGetUUID(void *device, char *buffer, unsigned int length) {
    Gpu gpu;
    int result = find(device, "nvmlDeviceGetUUID", &gpu);
    return result == SUCCESS ? copy(buffer, length, gpu.uuid) : result;
}

int nvmlDeviceGetName(void *device, char *buffer, unsigned int length) {
    Gpu gpu;
    int result = find(device, "nvmlDeviceGetName", &gpu);
    return result == SUCCESS ? copy(buffer, length, gpu.name) : result;
}

int nvmlDeviceGetMemoryInfo(void *device, Memory *memory) {
    Gpu gpu;
    int result = find(device, "nvmlDeviceGetMemoryInfo", &gpu);
    if (result != SUCCESS)
        return result;
    if (gpu.total < 0)
        return NOT_SUPPORTED;
    *memory = (Memory){.total = gpu.total, .free = gpu.total - gpu.used, .used = gpu.used};
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(void *device, Utilization *utilization) {
    Gpu gpu;
    int result = find(device, "nvmlDeviceGetUtilizationRates", &gpu);
    if (result != SUCCESS)
        return result;
    if (gpu.utilization < 0)
        return NOT_SUPPORTED;
    *utilization = (Utilization){.gpu = gpu.utilization};
    return SUCCESS;
}

static int number(int value, unsigned int *told) {
    if (value < 0)
        return NOT_SUPPORTED;
    *told = value;
    return SUCCESS;
}

int nvmlDeviceGetTemperature(void *device, int sensor, unsigned int *celsius) {
    Gpu gpu;
    int result = find(device, "nvmlDeviceGetTemperature", &gpu);
    (void)sensor;
    return result == SUCCESS ? number(gpu.temperature, celsius) : result;
}

int nvmlDeviceGetPowerUsage(void *device, unsigned int *milliwatts) {
    Gpu gpu;
    int result = find(device, "nvmlDeviceGetPowerUsage", &gpu);
    return result == SUCCESS ? number(gpu.milliwatts, milliwatts) : result;
}

// Reads the value of the only line `WORD UUID VALUE`.
static int told(void *device, const char *function, const char *word, long long *value) {
    Gpu gpu;
    int result = find(device, function, &gpu);
    if (result != SUCCESS)
        return result;
    return read_values(word, gpu.uuid, value, 1) ? SUCCESS : NOT_SUPPORTED;
}

int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned int *milliwatts) {
    long long value = 0;
    int result = told(device, "nvmlDeviceGetEnforcedPowerLimit", "limit", &value);
    *milliwatts = (unsigned int)value;
    return result;
}

int nvmlDeviceGetClockInfo(void *device, int type, unsigned int *megahertz) {
    long long value = 0;
    int result = told(device, "nvmlDeviceGetClockInfo", "clock", &value);
    (void)type;
    *megahertz = (unsigned int)value;
    return result;
}

int nvmlDeviceGetCurrentClocksEventReasons(void *device, unsigned long long *reasons) {
    long long value = 0;
    int result = told(device, "nvmlDeviceGetCurrentClocksEventReasons", "reasons", &value);
    *reasons = (unsigned long long)value;
    return result;
}

// The name of this function in drivers before 535.
int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons) {
    long long value = 0;
    int result = told(device, "nvmlDeviceGetCurrentClocksThrottleReasons", "reasons", &value);
    *reasons = (unsigned long long)value;
    return result;
}

int nvmlDeviceGetTotalEccErrors(void *device, int type, int counter, unsigned long long *count) {
    long long value = 0;
    int result = told(device, "nvmlDeviceGetTotalEccErrors", "ecc", &value);
    (void)type, (void)counter;
    *count = (unsigned long long)value;
    return result;
}

static int list(void *device, const char *function, const char *word, unsigned int *count, Process *processes) {
    long long pids[64];
    Gpu gpu;
    int result = find(device, function, &gpu);
    if (result != SUCCESS)
        return result;
    unsigned int room = *count, found = read_values(word, gpu.uuid, pids, 64);
    if (!found)
        return NOT_SUPPORTED;
    *count = 0;
    for (unsigned int index = 0; index < found; index++) {
        if (!pids[index])
            continue;
        if (*count < room)
            processes[*count] = (Process){.pid = (unsigned int)pids[index]};
        ++*count;
    }
    return *count <= room ? SUCCESS : INSUFFICIENT_SIZE;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count, Process *processes) {
    return list(device, "nvmlDeviceGetComputeRunningProcesses_v3", "process", count, processes);
}

int nvmlDeviceGetMPSComputeRunningProcesses_v3(void *device, unsigned int *count, Process *processes) {
    return list(device, "nvmlDeviceGetMPSComputeRunningProcesses_v3", "client", count, processes);
}

// For each registered GPU, how many of its Xid lines this program has seen. A program has one event set.
static unsigned int known_xids[64];
static int registered[64];

int nvmlEventSetCreate(void **set) {
    *set = registered;
    return asked("nvmlEventSetCreate");
}

int nvmlDeviceRegisterEvents(void *device, unsigned long long types, void *set) {
    Gpu gpu;
    int result = find(device, "nvmlDeviceRegisterEvents", &gpu);
    unsigned int index = (unsigned int)((size_t)device - 1);
    if (result != SUCCESS)
        return result;
    if (set != registered || !(types & XID_CRITICAL_ERROR) || index >= 64)
        return INVALID_ARGUMENT;
    registered[index] = 1;
    known_xids[index] = read_values("xid", gpu.uuid, NULL, 0);
    return SUCCESS;
}

int nvmlEventSetWait_v2(void *set, Event *event, unsigned int milliseconds) {
    int result = asked("nvmlEventSetWait_v2");
    (void)set, (void)milliseconds;
    if (result != SUCCESS)
        return result;
    for (unsigned int index = 0; index < 64; index++) {
        Gpu gpu;
        long long xids[1024];
        if (!registered[index] || read_gpus(index, &gpu) <= index)
            continue;
        unsigned int known = known_xids[index];
        if (known < 1024 && read_values("xid", gpu.uuid, xids, 1024) > known) {
            known_xids[index]++;
            *event = (Event){
                .device = (void *)(size_t)(index + 1), .type = XID_CRITICAL_ERROR, .data = (unsigned long long)xids[known]};
            return SUCCESS;
        }
    }
    return TIMEOUT;
}
