# SPDX-License-Identifier: Apache-2.0
"""The limits of the watchdog as people set them: one table, with a range for each."""

from pathlib import Path

import pytest

from fluxgym import config, paths, watchdog
from fluxgym.errors import ConfigInvalid
from fluxgym.protocol.messages import WatchdogMode
from tests.core.watchdog.usual import DEFAULTS


def test_the_modes_are_those_of_the_interface() -> None:
    assert {mode.value for mode in WatchdogMode} == {*watchdog.MODES, "unknown"}


@pytest.mark.parametrize("limit", watchdog.LIMITS.values(), ids=lambda limit: limit.name)
def test_each_limit_has_a_range_that_holds_its_default(limit: watchdog.Limit) -> None:
    assert limit.check(limit.default) == limit.default
    for wrong in (limit.low - 1, limit.high * 2, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=rf"^a number from .* to .* \({limit.unit}\)$"):
            limit.check(wrong)


def test_the_configuration_names_them_and_where_they_come_from(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "FLUXGYM_WATCHDOG_GPU_IDLE_SECONDS": "600"}
    assert config.load(environ).watchdog_limits == {**DEFAULTS, "gpu_idle_seconds": 600}
    file = paths.config_file(environ)
    file.parent.mkdir(parents=True)
    file.write_text('[watchdog]\nmode = "warn"\ntraining_still_seconds = 120\n')
    loaded = config.load(environ)
    assert (loaded.watchdog_mode, loaded.watchdog_limits["training_still_seconds"]) == ("warn", 120)
    assert loaded.values["watchdog.training_still_seconds"].source == f"{file}, line 3"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("[watchdog]\nmode = 'kill'", 2, "watchdog.mode is 'kill', but must be one of off, warn, act"),
        (
            "[watchdog]\n\ngpu_idle_percent = 101",
            3,
            "watchdog.gpu_idle_percent is 101, but must be a number from 0 to 100 (per cent)",
        ),
        ("[watchdog]\nsaving_still_second = 9", 2, "did you mean watchdog.saving_still_seconds?"),
    ],
)
def test_a_wrong_limit_is_refused_with_its_place(tmp_path: Path, text: str, line: int, says: str) -> None:
    environ = {"HOME": str(tmp_path)}
    file = paths.config_file(environ)
    file.parent.mkdir(parents=True)
    file.write_text(text)
    with pytest.raises(ConfigInvalid) as raised:
        config.load(environ)
    assert says in raised.value.message
    assert raised.value.message.startswith(f"{file}, line {line}:")
