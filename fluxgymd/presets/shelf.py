# SPDX-License-Identifier: Apache-2.0
"""The presets of this package and those of a home, as files."""

import os
from collections.abc import Iterator
from pathlib import Path

from fluxgym.errors import InvalidName, NameTaken, NoSuchPreset, PresetFixed
from fluxgym.files import is_file, read_file
from fluxgym.names import check_name
from fluxgym.protocol.messages import Context, Preset
from fluxgym.quoting import hint, short
from fluxgymd.pictures.files import reason
from fluxgymd.presets import preset
from fluxgymd.presets.preset import NotAPreset
from fluxgymd.store.atomic import sync_folder, write_file

SHIPPED = Path(__file__).parent
ENDING = ".toml"
MOST_BYTES = 64 << 10
"""The largest file of a preset that is read."""
MOST = 1000
"""The most presets that a home may have."""


class Shelf:
    """All methods block on the disk."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._own = home / "presets"

    def all(self) -> Iterator[Preset]:
        """Every preset by name, those that come with FluxGym first. One that cannot be used has a problem."""
        yield from (_read(path, shipped=True) for path in _files(SHIPPED))
        yield from (self._read_own(path) for path in _files(self._own)[:MOST])

    def one(self, name: str) -> Preset:
        """NoSuchPreset if there is none, or none that can be used."""
        wanted = name.lower()
        found = next((each for each in self.all() if each.settings.name == wanted), None)
        if found is None:
            names = [each.settings.name for each in self.all()]
            meant = hint(wanted, names, otherwise=f"there are {', '.join(names)}.")
            raise NoSuchPreset(f"There is no preset {short(name)}; {meant}", name=short(name))
        if found.problem is not None:
            raise NoSuchPreset(found.problem, name=short(name))
        return found

    def save(self, wanted: Preset, *, replace: bool) -> None:
        """Writes a preset of the user. InvalidName, PresetFixed, NameTaken, or OSError."""
        name = check_name(wanted.settings.name)
        self._refuse_shipped(name, "choose another name")
        if not replace and (self._own / f"{name}{ENDING}").exists():
            raise NameTaken(f"A preset named {name} already exists; choose another name, or replace it.", name=name)
        if not self._own.is_dir():
            self._own.mkdir(mode=0o700)
            sync_folder(self._own.parent)
        write_file(self._own / f"{name}{ENDING}", preset.render(wanted))

    def remove(self, name: str) -> None:
        """Deletes a preset of the user. NoSuchPreset, PresetFixed, or OSError."""
        name = name.lower()
        self._refuse_shipped(name, "it cannot be removed")
        path = self._own / f"{name}{ENDING}"
        if path.parent != self._own or not is_file(path):
            self.one(name)  # says which presets there are
        path.unlink()
        sync_folder(self._own)

    def _read_own(self, path: Path) -> Preset:
        name = path.stem
        if (SHIPPED / path.name).exists():
            return _unusable(name, f"{path} has the name of a preset that comes with FluxGym; rename it.")
        return _read(path, shipped=False)

    def _refuse_shipped(self, name: str, instead: str) -> None:
        if "/" not in name and (SHIPPED / f"{name}{ENDING}").exists():
            raise PresetFixed(f"The preset {name} comes with FluxGym; {instead}.", name=name)


def _files(folder: Path) -> list[Path]:
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return [folder / name for name in sorted(names) if name.endswith(ENDING) and not name.startswith(".")]


def _read(path: Path, *, shipped: bool) -> Preset:
    try:
        text = read_file(path, most=MOST_BYTES).decode()
        return preset.parse(text, name=check_name(path.stem), shipped=shipped)
    except InvalidName as error:
        return _unusable(path.stem, f"{path} cannot be used. {error.message}")
    except NotAPreset as error:
        return _unusable(path.stem, f"{path} {error}.")
    except UnicodeDecodeError:
        return _unusable(path.stem, f"{path} is not UTF-8.")
    except OSError as error:
        return _unusable(path.stem, f"{path} cannot be read: {reason(error)}.")


def _unusable(name: str, problem: str) -> Preset:
    return Preset(settings=Context(name=name), why={}, shipped=False, problem=problem)
