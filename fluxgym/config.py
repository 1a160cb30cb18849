# SPDX-License-Identifier: Apache-2.0
"""The configuration: one table of settings. A flag overrides the environment, which overrides the file, which
overrides the default. Each value has its source, and a wrong one is refused with its place and what would be right.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fluxgym import files, hooks, paths, setting_values, toml, watchdog
from fluxgym.errors import ConfigInvalid
from fluxgym.hooks import Hook, Webhook
from fluxgym.quoting import hint, short

Environment = Mapping[str, str]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One row of the table. `parse` takes a TOML value or a variable's text; ValueError says what would be right."""

    key: str
    variable: str
    help: str
    parse: Callable[[Any], Any]
    default: Callable[[Environment], Any]
    secret: bool = False
    """An error message does not repeat the value."""


@dataclass(frozen=True, slots=True)
class Value:
    value: Any
    source: str


def _watchdog_limit(limit: watchdog.Limit) -> Setting:
    number = setting_values.number(limit.low, limit.high, limit.unit)
    return Setting(
        key=f"watchdog.{limit.name}",
        variable=f"FLUXGYM_WATCHDOG_{limit.name.upper()}",
        help=f"{limit.help}, in {limit.unit}" if limit.unit == "seconds" else limit.help,
        parse=number,
        default=lambda _: number(limit.default),
    )


def _hook(event: str, what: str) -> Setting:
    return Setting(
        key=f"hooks.on_{event}",
        variable=f"FLUXGYM_HOOKS_ON_{event.upper()}",
        help=f"called when {what}: a command, or an https address that gets a POST (docs/hooks.md)",
        parse=hooks.parse,
        default=lambda _: None,
        secret=True,
    )


def _beside_environment(name: str) -> Callable[[Environment], Path]:
    # Both `./dev` and `./dev install` put the trainer beside the environment that the daemon runs in.
    return lambda _: Path(sys.prefix).parent / name


SETTINGS = (
    Setting(
        key="home",
        variable="FLUXGYM_HOME",
        help="the folder that contains outputs/, datasets/ and models/",
        parse=setting_values.path,
        default=paths.default_home,
    ),
    Setting(
        key="socket",
        variable="FLUXGYM_SOCKET",
        help="the daemon's socket",
        parse=setting_values.path,
        default=paths.default_socket,
    ),
    Setting(
        key="supervisor",
        variable="FLUXGYM_SUPERVISOR",
        help="what runs the attempts: scope (systemd), process, or auto",
        parse=setting_values.choice("auto", "scope", "process"),
        default=lambda _: "auto",
    ),
    Setting(
        key="queue.program_slots",
        variable="FLUXGYM_QUEUE_PROGRAM_SLOTS",
        help="how many jobs of the kind program run at once",
        parse=setting_values.whole_number(1, 64),
        default=lambda _: 2,
    ),
    Setting(
        key="jobs.trash_days",
        variable="FLUXGYM_JOBS_TRASH_DAYS",
        help="how many days a removed job can be restored; 0: it is deleted at once",
        parse=setting_values.number(0, 3650, "days"),
        default=lambda _: 7.0,
    ),
    Setting(
        key="stop.limit_seconds",
        variable="FLUXGYM_STOP_LIMIT_SECONDS",
        help="how long a trainer may take to save after SIGTERM, in seconds",
        parse=setting_values.number(1, 3600, "seconds"),
        default=lambda _: 90.0,
    ),
    Setting(
        key="stop.unkillable_seconds",
        variable="FLUXGYM_STOP_UNKILLABLE_SECONDS",
        help="how long a killed process may take to exit before its GPU is quarantined, in seconds",
        parse=setting_values.number(1, 3600, "seconds"),
        default=lambda _: 60.0,
    ),
    Setting(
        key="log.limit_mib",
        variable="FLUXGYM_LOG_LIMIT_MIB",
        help="how much of a job's training.log is kept, in MiB; the middle of a longer log is dropped",
        parse=setting_values.number(16, 100_000, "MiB"),
        default=lambda _: 1024.0,
    ),
    Setting(
        key="trainer.path",
        variable="FLUXGYM_TRAINER_PATH",
        help="the folder of flux_train_network.py: FluxGym's own, or that of kohya-ss/sd-scripts",
        parse=setting_values.path,
        default=_beside_environment("sd-scripts"),
    ),
    Setting(
        key="trainer.python",
        variable="FLUXGYM_TRAINER_PYTHON",
        help="the Python of the trainer's environment",
        parse=setting_values.path,
        default=lambda _: _trainer_python(),
    ),
    Setting(
        key="trainer.compile_cache_gib",
        variable="FLUXGYM_TRAINER_COMPILE_CACHE_GIB",
        help="how much compiled code is kept below the home for the next training, in GiB",
        parse=setting_values.number(0, 10_000, "GiB"),
        default=lambda _: 10.0,
    ),
    Setting(
        key="trainer.shared_cache_gib",
        variable="FLUXGYM_TRAINER_SHARED_CACHE_GIB",
        help="how much of the encoded pictures and captions that no job has is kept for later trainings, in GiB",
        parse=setting_values.number(0, 10_000, "GiB"),
        default=lambda _: 20.0,
    ),
    Setting(
        key="watchdog.mode",
        variable="FLUXGYM_WATCHDOG_MODE",
        help="what is done about a hang of a training that sets no mode of its own: off, warn or act",
        parse=setting_values.choice(*watchdog.MODES),
        default=lambda _: "act",
    ),
    *map(_watchdog_limit, watchdog.LIMITS.values()),
    _hook("stuck", "a job hangs"),
    _hook("finish", "a job is completed"),
    _hook("fail", "a job failed, or was interrupted and will not continue automatically"),
    _hook("lost", "a job is lost; if unset, on_fail is called"),
    Setting(
        key="hooks.deadline_seconds",
        variable="FLUXGYM_HOOKS_DEADLINE_SECONDS",
        help="how long a hook may take before it is killed, in seconds",
        parse=setting_values.number(1, 3600, "seconds"),
        default=lambda _: 30.0,
    ),
    Setting(
        key="notify.desktop",
        variable="FLUXGYM_NOTIFY_DESKTOP",
        help="whether the desktop, if there is one, shows the same events: auto or off",
        parse=setting_values.choice("auto", "off"),
        default=lambda _: "auto",
    ),
)


def _trainer_python() -> Path:
    # Beside .venv is .venv-trainer (in a checkout); beside venv is venv-trainer (in an installation).
    prefix = Path(sys.prefix)
    return prefix.parent / f"{prefix.name}-trainer" / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Config:
    """All settings with their sources."""

    values: Mapping[str, Value]

    @property
    def home(self) -> Path:
        return self._get("home", Path)

    @property
    def socket(self) -> Path:
        return self._get("socket", Path)

    @property
    def supervisor(self) -> str:
        return self._get("supervisor", str)

    @property
    def program_slots(self) -> int:
        return self._get("queue.program_slots", int)

    @property
    def trash_days(self) -> float:
        return self._get("jobs.trash_days", float)

    @property
    def stop_limit(self) -> float:
        """Seconds."""
        return self._get("stop.limit_seconds", float)

    @property
    def unkillable_after(self) -> float:
        """Seconds."""
        return self._get("stop.unkillable_seconds", float)

    @property
    def log_limit(self) -> int:
        """Bytes."""
        return int(self._get("log.limit_mib", float) * 2**20)

    @property
    def trainer_path(self) -> Path:
        return self._get("trainer.path", Path)

    @property
    def trainer_python(self) -> Path:
        return self._get("trainer.python", Path)

    @property
    def compile_cache_bytes(self) -> float:
        return self._get("trainer.compile_cache_gib", float) * 2**30

    @property
    def shared_cache_bytes(self) -> float:
        return self._get("trainer.shared_cache_gib", float) * 2**30

    @property
    def watchdog_mode(self) -> str:
        return self._get("watchdog.mode", str)

    @property
    def watchdog_limits(self) -> dict[str, float]:
        """Every limit of the watchdog by its name."""
        return {name: self._get(f"watchdog.{name}", float) for name in watchdog.LIMITS}

    @property
    def hooks(self) -> dict[str, Hook]:
        """The hooks that are set, by event: stuck, finish, fail, lost."""
        found = {event: self.values[f"hooks.on_{event}"].value for event in hooks.EVENTS}
        return {event: hook for event, hook in found.items() if hook is not None}

    @property
    def hook_deadline(self) -> float:
        """Seconds."""
        return self._get("hooks.deadline_seconds", float)

    @property
    def notify_desktop(self) -> bool:
        return self._get("notify.desktop", str) == "auto"

    def _get(self, key: str, kind: type[T]) -> T:
        value = self.values[key].value
        assert isinstance(value, kind)
        return value


def load(environ: Environment, flags: Mapping[str, str | None] | None = None) -> Config:
    """The configuration of this process, or ConfigInvalid. `flags`: values of the command line by key, None if not
    given."""
    file = paths.config_file(environ)
    written = _read(file)
    values = {}
    for setting in SETTINGS:
        flag = (flags or {}).get(setting.key)
        if flag is not None:
            values[setting.key] = _take(setting, flag, f"--{setting.key}")
        elif environ.get(setting.variable):
            values[setting.key] = _take(setting, environ[setting.variable], setting.variable)
        elif setting.key in written:
            value, line = written[setting.key]
            values[setting.key] = _take(setting, value, f"{file}, line {line}")
        else:
            values[setting.key] = Value(setting.default(environ), "default")
    for setting in SETTINGS:
        _check_encoding(setting, values[setting.key])
    paths.check_socket(values["socket"].value)
    return Config(values)


def _check_encoding(setting: Setting, found: Value) -> None:
    if not isinstance(found.value, Path) or paths.is_utf8(found.value):
        return
    where = f"The default of {setting.key}" if found.source == "default" else f"{found.source}: {setting.key}"
    shown = paths.printable(found.value)
    raise ConfigInvalid(
        f"{where} is {shown}, which is not UTF-8; rename it, or set {setting.variable} to a path that is."
    )


def exposed(config: Config, environ: Environment) -> str | None:
    """A warning if the file holds the address of a webhook, which is a secret, and other users may read it; otherwise
    None."""
    file = paths.config_file(environ)
    by_file = [event for event in config.hooks if config.values[f"hooks.on_{event}"].source.startswith(f"{file},")]
    if not any(isinstance(config.hooks[event], Webhook) for event in by_file):
        return None
    try:
        mode = file.stat().st_mode
    except OSError:
        return None  # it was deleted after it was read
    if not mode & 0o077:
        return None
    return (
        f"{file} holds the address of a webhook, which is a secret, and other users can read it; "
        f"run `chmod 600 {file}`."
    )


def _take(setting: Setting, raw: Any, source: str) -> Value:
    try:
        return Value(setting.parse(raw), source)
    except ValueError as error:
        given = "" if setting.secret else f" is {raw!r}, but"
        raise ConfigInvalid(f"{source}: {setting.key}{given} must be {error}.") from None


def _read(file: Path) -> dict[str, tuple[Any, int]]:
    """The file's values, each with its line, by dotted key."""
    try:
        text = files.read_file(file).decode("utf-8")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigInvalid(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise ConfigInvalid(f"{file} cannot be read: it is not UTF-8 at byte {error.start}.") from None
    try:
        tables = toml.parse(text)
    except toml.NotToml as error:
        raise ConfigInvalid(f"{file} {error}.") from None
    found = {}
    known = [setting.key for setting in SETTINGS]
    for key, value in _flatten(tables):
        line = toml.line_of(text, key)
        if key not in known:
            meant = hint(key, known, otherwise=f"the settings are {', '.join(known)}.")
            raise ConfigInvalid(f"{file}, line {line}: there is no setting {short(key)}; {meant}")
        found[key] = (value, line)
    return found


def _flatten(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in table.items():
        if isinstance(value, dict):
            rows += _flatten(value, f"{prefix}{key}.")
        else:
            rows.append((prefix + key, value))
    return rows
