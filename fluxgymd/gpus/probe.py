# SPDX-License-Identifier: Apache-2.0
"""The helper that asks NVML: `python -P -m fluxgymd.gpus.probe`. Each line of input is a question, and each line of
JSON that it prints is the answer.

Only this program imports pynvml. It keeps running, because NVML reports an Xid event only to programs that registered
before the event. It exits when its input ends, and after each answer that does not come from a working NVML: the next
helper then sees a driver that was loaded, repaired or replaced meanwhile. Values that the driver does not report are
left out.
"""

import sys
from collections.abc import Callable
from contextlib import suppress
from ctypes import c_void_p, cast
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from fluxgymd.core.gpu import Reading
from fluxgymd.core.journal.records import Record

T = TypeVar("T")

MOST_EVENTS = 1000
"""Events that are taken at one question; the others wait for the next."""
THROTTLING = {
    "power_cap": ("nvmlClocksEventReasonSwPowerCap",),
    "thermal": ("nvmlClocksEventReasonSwThermalSlowdown", "nvmlClocksEventReasonHwThermalSlowdown"),
    "hardware_slowdown": ("nvmlClocksEventReasonHwSlowdown",),
    "power_brake": ("nvmlClocksEventReasonHwPowerBrakeSlowdown",),
    "sync_boost": ("nvmlClocksEventReasonSyncBoost",),
}
"""Our names for bits of nvmlDeviceGetCurrentClocksEventReasons. The other bits are settings, or mean an idle GPU."""

WSL = Path("/dev/dxg")
"""The GPU's device under Windows (WSL), where NVML works but lists no processes, whatever runs."""


class ProbeAnswer(Record, frozen=True, kw_only=True):
    gpus: tuple[Reading, ...] = ()
    """The `xids` of each are those that came since the previous answer."""
    certain: bool = True
    """Whether `gpus` is known to be complete. A machine without a driver certainly has no GPU."""
    problem: str | None = None
    """Why there are no GPUs, why the list is not certain, or which GPU is lost."""
    works: bool = False
    """NVML itself answered, and this helper keeps running."""


class Session:
    """NVML after its initialization. Remembers the UUID and name of each GPU, which NVML no longer reports once the
    GPU is lost."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._handles: dict[int, Any] = {}
        self._names: dict[int, tuple[str, str]] = {}
        self._events = self._tell(nvml.nvmlEventSetCreate)

    def answer(self) -> ProbeAnswer:
        """Asks about all GPUs. Raises NVMLError if NVML cannot even count them."""
        readings, lost, failed = [], [], []
        count = self._nvml.nvmlDeviceGetCount()
        xids = self._new_xids()
        for index in range(count):
            try:
                readings.append(self._read(index, tuple(xids.get(index, ()))))
            except self._nvml.NVMLError_GpuIsLost:
                lost.append(index)
                if index in self._names:
                    uuid, name = self._names[index]
                    xid = tuple(xids.get(index, ()))
                    readings.append(Reading(index=index, uuid=uuid, name=name, xids=xid, lost=True))
            except self._nvml.NVMLError as error:
                failed.append(f"GPU {index}: {_clause(error)}")
        if failed or (lost and len(lost) == count):
            why = "; ".join(failed) or "the GPU is lost"
            return ProbeAnswer(gpus=tuple(readings), certain=False, problem=f"NVML does not answer: {why}.")
        return ProbeAnswer(gpus=tuple(readings), problem=_lost(lost), works=True)

    def _read(self, index: int, xids: tuple[int, ...]) -> Reading:
        nvml, tell = self._nvml, self._tell
        handle = self._handle(index)
        uuid = _text(nvml.nvmlDeviceGetUUID(handle))
        name = _text(tell(lambda: nvml.nvmlDeviceGetName(handle)) or "unknown")
        self._names[index] = (uuid, name)
        memory = tell(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        rates = tell(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
        return Reading(
            index=index,
            uuid=uuid,
            name=name,
            memory_total=int(memory.total) if memory else None,
            memory_used=int(memory.used) if memory else None,
            utilization=int(rates.gpu) if rates else None,
            temperature=tell(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            power_draw=_watts(tell(lambda: nvml.nvmlDeviceGetPowerUsage(handle))),
            power_limit=_watts(tell(lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle))),
            sm_clock=tell(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            throttled=self._throttled(handle),
            processes=self._processes(handle),
            xids=xids,
            ecc_uncorrected=tell(
                lambda: nvml.nvmlDeviceGetTotalEccErrors(
                    handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
                )
            ),
        )

    def _processes(self, handle: Any) -> tuple[int, ...] | None:
        """The pids of the processes that compute on a GPU; None if the driver does not report them."""
        nvml = self._nvml
        running = self._tell(lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle))
        if running is None or WSL.exists():
            return None
        # If processes compute through the MPS server, the first list has only the server, and this one its clients.
        clients = self._tell(lambda: nvml.nvmlDeviceGetMPSComputeRunningProcesses(handle)) or ()
        return tuple(int(process.pid) for process in (*running, *clients))

    def _handle(self, index: int) -> Any:
        """The handle of a GPU. At the first call for a GPU, also registers for its Xid events."""
        if index not in self._handles:
            handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
            self._handles[index] = handle
            if self._events is not None:
                wanted = self._nvml.nvmlEventTypeXidCriticalError
                self._tell(lambda: self._nvml.nvmlDeviceRegisterEvents(handle, wanted, self._events))
        return self._handles[index]

    def _throttled(self, handle: Any) -> tuple[str, ...] | None:
        nvml = self._nvml
        mask = self._tell(lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
        if mask is None:  # drivers before 535 have the older name
            mask = self._tell(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
        if mask is None:
            return None
        return tuple(name for name, bits in THROTTLING.items() if any(mask & getattr(nvml, bit) for bit in bits))

    def _new_xids(self) -> dict[int, list[int]]:
        """The new Xids by the index of their GPU, in the order in which they came."""
        found: dict[int, list[int]] = {}
        if self._events is None:
            return found
        by_address = {cast(handle, c_void_p).value: index for index, handle in self._handles.items()}
        with suppress(self._nvml.NVMLError):  # a timeout means that there are no more
            for _ in range(MOST_EVENTS):
                event = self._nvml.nvmlEventSetWait(self._events, 0)
                index = by_address.get(cast(event.device, c_void_p).value)
                if index is not None and event.eventType == self._nvml.nvmlEventTypeXidCriticalError:
                    found.setdefault(index, []).append(int(event.eventData))
        return found

    def _tell(self, question: Callable[[], T]) -> T | None:
        """The answer to one question; None if the driver does not report it. Raises NVMLError_GpuIsLost if the GPU is
        lost."""
        try:
            return question()
        except self._nvml.NVMLError_GpuIsLost:
            raise
        except self._nvml.NVMLError:
            return None


class Asker:
    def __init__(self) -> None:
        self._session: Session | None = None

    def ask(self) -> ProbeAnswer:
        import pynvml

        try:
            if self._session is None:
                pynvml.nvmlInit()
        except pynvml.NVMLError_LibraryNotFound:
            return ProbeAnswer(problem="There is no NVIDIA driver on this machine (libnvidia-ml.so.1 was not found).")
        except pynvml.NVMLError_DriverNotLoaded:
            return ProbeAnswer(problem="The NVIDIA driver is not loaded.")
        except pynvml.NVMLError as error:
            return ProbeAnswer(certain=False, problem=f"NVML could not be initialized: {_clause(error)}.")
        try:
            self._session = self._session or Session(pynvml)
            return self._session.answer()
        except pynvml.NVMLError as error:
            return ProbeAnswer(certain=False, problem=f"NVML does not answer: {_clause(error)}.")


def _lost(indices: list[int]) -> str | None:
    if not indices:
        return None
    which = ", ".join(map(str, indices))
    named = f"GPU {which} is lost: it" if len(indices) == 1 else f"GPUs {which} are lost: they"
    return f"{named} fell off the bus. The others still work."


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000


def _clause(error: Exception) -> str:
    # Some of pynvml's texts are sentences that end with a full stop.
    return str(error).rstrip(".")


def _text(value: str | bytes) -> str:
    # Older versions of pynvml return bytes.
    return value.decode() if isinstance(value, bytes) else value


def main() -> None:
    asker = Asker()
    for _ in sys.stdin.buffer:
        answer = asker.ask()
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.buffer.flush()
        if not answer.works:
            return


if __name__ == "__main__":
    main()
