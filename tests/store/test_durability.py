# SPDX-License-Identifier: Apache-2.0
"""Nothing counts before it is on the disk: the order of writes, fsyncs and renames, as seen by the C library.

A power cut keeps what was fsynced, and may or may not keep the rest (ALICE, OSDI 14), so the order matters.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from fluxgymd.core.journal import events as e
from tests.core import histories as h
from tests.store.calls import build, calls_of

Calls = Callable[[str], list[str]]

HEAD = """
import sys
from pathlib import Path
from fluxgymd.store.atomic import write_file
from fluxgymd.store.home import Home, JobFolder
from fluxgymd.store.journal import Journal, read
from fluxgym.protocol.messages import Context, Preset
from fluxgymd.presets.shelf import Shelf
from tests.core import histories as h
folder = Path(sys.argv[1])
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("calls"))


@pytest.fixture
def calls(library: Path, tmp_path: Path, checkout: Path) -> Calls:
    """Returns the calls that some lines of Python make. In them, `folder` is the test's folder."""
    return lambda code: calls_of(["-c", HEAD + code, tmp_path], library=library, under=tmp_path, cwd=checkout)


def test_a_file_is_durable_before_its_name_and_then_its_name_is(calls: Calls) -> None:
    assert calls("write_file(folder / 'owner.json', b'x')") == [
        "write .owner.json.new",
        "fsync .owner.json.new",
        "rename .owner.json.new owner.json",
        "fsync .",
    ]


APPEND = "path = folder / 'events.jsonl'; Journal(path, read(path).good_size).append(h.stop_asked())"


def test_promise_3_an_event_is_durable_when_append_returns(calls: Calls, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b"".join(map(e.encode, h.WAYS["running"])))
    assert calls(APPEND) == ["write events.jsonl", "fsync events.jsonl"]


def test_promise_8_a_torn_tail_is_durable_elsewhere_before_it_is_cut_off(calls: Calls, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b"".join(map(e.encode, h.WAYS["running"])) + b"torn")
    assert calls(APPEND) == [
        "write events.jsonl.torn-1",
        "fsync events.jsonl.torn-1",
        "fsync .",
        "ftruncate events.jsonl",
        "fsync events.jsonl",
        "write events.jsonl",
        "fsync events.jsonl",
    ]


def test_promise_3_a_job_is_durable_before_its_name_and_then_its_name_is(calls: Calls, tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    assert calls("home = Home(folder); home.publish(home.new_folder('ab'), 'my-lora')") == [
        "fsync outputs/.new-ab",
        "rename outputs/.new-ab outputs/my-lora",
        "fsync outputs",
    ]


def test_a_job_moves_to_the_trash_and_back_durably(calls: Calls, tmp_path: Path) -> None:
    (tmp_path / "outputs" / "my-lora").mkdir(parents=True)
    removed = "home = Home(folder); removed = home.remove(home.folder('my-lora'), 'ab', now=7.0)"
    to_the_trash = [
        "rename outputs/my-lora outputs/.trash/my-lora@7000@ab",
        "fsync outputs/.trash",
        "fsync outputs",
    ]
    assert calls(removed) == to_the_trash
    (tmp_path / "outputs" / ".trash" / "my-lora@7000@ab").rename(tmp_path / "outputs" / "my-lora")
    assert calls(f"{removed}; home.trash.restore(removed)") == [
        *to_the_trash,
        "rename outputs/.trash/my-lora@7000@ab outputs/my-lora",
        "fsync outputs",
        "fsync outputs/.trash",
    ]


def test_a_deleted_job_does_not_come_back(calls: Calls, tmp_path: Path) -> None:
    (tmp_path / "outputs" / "my-lora").mkdir(parents=True)
    assert calls("home = Home(folder); home.remove(home.folder('my-lora'), 'ab')") == [
        "rename outputs/my-lora outputs/.trash-ab",
        "fsync outputs",
    ]


SAVE_PRESET = """
shelf = Shelf(folder)
shelf.save(Preset(settings=Context(name="mine", epochs=3), why={}, shipped=False), replace=False)
"""


def test_a_saved_preset_and_the_folder_of_presets_are_durable(calls: Calls) -> None:
    assert calls(SAVE_PRESET) == [
        "fsync .",
        "write presets/.mine.toml.new",
        "fsync presets/.mine.toml.new",
        "rename presets/.mine.toml.new presets/mine.toml",
        "fsync presets",
    ]


def test_a_removed_preset_does_not_come_back(calls: Calls) -> None:
    saved_and_removed = calls(SAVE_PRESET + "shelf.remove('mine')")
    assert saved_and_removed[-2:] == ["fsync presets", "fsync presets"]


def test_promise_3_every_picture_and_the_folder_of_them_is_durable(
    library: Path, tmp_path: Path, checkout: Path
) -> None:
    source, target = tmp_path / "pictures", tmp_path / "dataset"
    source.mkdir()
    Image.new("RGB", (8, 8)).save(source / "a.png")
    (source / "a.txt").write_text("a cat")
    program: list[str | Path] = ["-m", "fluxgymd.snapshots.snapshot", source, target, "{}"]
    assert calls_of(program, library=library, under=target, cwd=checkout) == [
        "write a.png",
        "fsync a.png",
        "write a.txt",
        "fsync a.txt",
        "fsync .",
    ]
