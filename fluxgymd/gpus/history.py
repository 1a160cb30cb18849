# SPDX-License-Identifier: Apache-2.0
"""The last hour of each GPU, in memory only. It consists of the readings that the daemon takes anyway, so it has gaps
while no job runs and nobody watches: then NVML is queried only every ten minutes, so that the driver can idle."""

from collections import deque
from collections.abc import Iterable

from fluxgym.protocol.machine_messages import GpuSeries
from fluxgymd.core.gpu import Reading

HOUR_SECONDS = 3600.0
POINT_SECONDS = 10.0
"""The shortest time between two points of a GPU."""
MOST_POINTS = int(HOUR_SECONDS / POINT_SECONDS)

Point = tuple[float, int | None, int | None, int | None, float | None]
"""The time of a reading, with its utilization, memory, temperature and power."""


class GpuHistory:
    def __init__(self) -> None:
        self._points: dict[str, deque[Point]] = {}

    def note(self, readings: Iterable[Reading], *, now: float) -> None:
        """Adds new readings. `now`: seconds since the epoch."""
        for one in readings:
            points = self._points.setdefault(one.uuid, deque(maxlen=MOST_POINTS))
            if points and now < points[-1][0]:
                points.clear()  # the clock was set back
            if not one.lost and (not points or now - points[-1][0] >= POINT_SECONDS):
                points.append((now, one.utilization, one.memory_used, one.temperature, one.power_draw))
        for uuid, points in list(self._points.items()):
            while points and points[0][0] < now - HOUR_SECONDS:
                points.popleft()
            if not points:
                del self._points[uuid]

    def series(self, *, uuid: str | None = None, after: float = 0.0) -> list[GpuSeries]:
        """The points later than `after`, of one GPU or of all."""
        found = []
        for one, points in self._points.items():
            if uuid in (None, one):
                times, utilization, memory, temperature, power = _columns([p for p in points if p[0] > after])
                found.append(
                    GpuSeries(
                        uuid=one,
                        time=times,
                        utilization=utilization,
                        memory_used=memory,
                        temperature=temperature,
                        power_draw=power,
                    )
                )
        return found


def _columns(
    points: list[Point],
) -> tuple[list[float], list[int | None], list[int | None], list[int | None], list[float | None]]:
    return (
        [point[0] for point in points],
        [point[1] for point in points],
        [point[2] for point in points],
        [point[3] for point in points],
        [point[4] for point in points],
    )
