# SPDX-License-Identifier: Apache-2.0
"""Asks NVML once and prints one line of JSON: `python -m fluxgymd.gpus.probe`.

Only this program imports pynvml. A value that the driver does not tell is left out.
"""

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec


class Reading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One GPU, as NVML tells it (docs.nvidia.com: NVML API reference)."""

    index: int
    uuid: str
    name: str
    memory_total: int | None = None
    """Bytes."""
    memory_used: int | None = None
    utilization: int | None = None
    """Per cent."""
    temperature: int | None = None
    """Degrees Celsius."""
    power_draw: float | None = None
    """Watts."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    gpus: list[Reading] = []
    certain: bool = True
    """Whether the list is all there is. A machine without a driver has no GPU, and that is certain."""
    problem: str | None = None
    """Why there is none, or why it is not certain."""


def ask() -> Answer:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        return Answer(problem="There is no NVIDIA driver on this machine (libnvidia-ml.so.1 was not found).")
    except pynvml.NVMLError_DriverNotLoaded:
        return Answer(problem="The NVIDIA driver is not loaded.")
    except pynvml.NVMLError as error:
        return Answer(certain=False, problem=f"NVML does not start: {_clause(error)}.")
    try:
        return Answer(gpus=[_read(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())])
    except pynvml.NVMLError as error:
        return Answer(certain=False, problem=f"NVML does not answer: {_clause(error)}.")
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _read(nvml: Any, index: int) -> Reading:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)

    def tell(question: Callable[[], Any]) -> Any:
        try:
            return question()
        except nvml.NVMLError:
            return None

    memory = tell(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    rates = tell(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    milliwatts = tell(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    return Reading(
        index=index,
        uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
        name=_text(tell(lambda: nvml.nvmlDeviceGetName(handle)) or "unknown"),
        memory_total=int(memory.total) if memory else None,
        memory_used=int(memory.used) if memory else None,
        utilization=int(rates.gpu) if rates else None,
        temperature=tell(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        power_draw=milliwatts / 1000 if milliwatts is not None else None,
    )


def _clause(error: Exception) -> str:
    # Some of pynvml's texts are sentences.
    return str(error).rstrip(".")


def _text(value: str | bytes) -> str:
    # Older versions of the package answer in bytes.
    return value.decode() if isinstance(value, bytes) else value


def main() -> None:
    sys.stdout.buffer.write(msgspec.json.encode(ask()) + b"\n")


if __name__ == "__main__":
    main()
