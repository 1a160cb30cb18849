// SPDX-License-Identifier: Apache-2.0
// A small libnvidia-ml.so.1 for tests: the functions that the daemon calls, answering from a text file.
//
// FLUXGYM_TEST_NVML names the file. It is read again at every call, so a test changes it while programs run:
//
//     gpu UUID TOTAL USED UTILIZATION TEMPERATURE MILLIWATTS NAME...
//     error FUNCTION CODE      that function answers with this nvmlReturn_t
//     hang FUNCTION            that function never comes back
//
// GPUs have the index of their line. A value of -1 is one that this GPU does not tell (NVML_ERROR_NOT_SUPPORTED).
// Signatures and codes: docs.nvidia.com, NVML API reference.

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

static FILE *state(void) {
    const char *path = getenv("FLUXGYM_TEST_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) {
        fprintf(stderr, "FLUXGYM_TEST_NVML names no readable file\n");
        abort();
    }
    return file;
}

// What the file says of a function: hangs, or an error's code, or SUCCESS.
static int asked(const char *function) {
    char line[512], name[64];
    int code, result = SUCCESS;
    FILE *file = state();
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "hang %63s", name) == 1 && !strcmp(name, function))
            for (;;)
                pause();
        if (sscanf(line, "error %63s %d", name, &code) == 2 && !strcmp(name, function))
            result = code;
    }
    fclose(file);
    return result;
}

// The number of GPUs; the one of this index is filled in if `gpu` is not NULL.
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

// A handle is the index plus one: a GPU keeps its handle, and NULL is none.
static int find(const void *device, const char *function, Gpu *gpu) {
    unsigned int index = (unsigned int)((size_t)device - 1);
    int result = asked(function);
    if (result == SUCCESS && read_gpus(index, gpu) <= index)
        result = GPU_IS_LOST;
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
    *device = (void *)(size_t)(index + 1);
    return index < read_gpus(0, NULL) ? asked("nvmlDeviceGetHandleByIndex_v2") : INVALID_ARGUMENT;
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
