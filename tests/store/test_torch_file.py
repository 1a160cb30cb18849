# SPDX-License-Identifier: Apache-2.0
"""Files of torch.save without torch: whole ones are told from torn ones, and evil ones do nothing."""

import io
import os
import pickle
import struct
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxgymd.store import torch_file
from fluxgymd.store.torch_file import Call, NotTorch, Storage
from tests.store.files import RECORDED

FILES = ("optimizer.bin", "scheduler.bin", "random_states_0.pkl", "adafactor.bin")


def archive(pickled: bytes, *, entries: dict[str, bytes] | None = None, how: int = zipfile.ZIP_STORED) -> bytes:
    """As torch.save packs it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as file:
        file.writestr("x/data.pkl", pickled)
        for name, data in (entries or {}).items():
            file.writestr(name, data)
    return buffer.getvalue()


def problem(tmp_path: Path, data: bytes) -> str | None:
    path = tmp_path / "optimizer.bin"
    path.write_bytes(data)
    try:
        torch_file.read(path)
    except NotTorch as error:
        return str(error)
    return None


def test_what_torch_wrote_is_read() -> None:
    saved = torch_file.read(RECORDED / "optimizer.bin")
    (group,) = saved["param_groups"]
    assert (group["betas"], group["params"]) == ((0.9, 0.999), [0, 1])
    moment = saved["state"][0]["exp_avg"]
    assert isinstance(moment, Call)
    assert isinstance(moment.arguments[0], Storage)
    assert moment.arguments[0].items == 32
    assert moment.arguments[2] == (4, 8)
    states = torch_file.read(RECORDED / "random_states_0.pkl")
    assert set(states) == {"step", "random_state", "numpy_random_seed", "torch_manual_seed"}
    assert len(states["random_state"][1]) == 625
    assert torch_file.read(RECORDED / "scheduler.bin")["last_epoch"] == 1


@pytest.mark.parametrize("name", FILES)
def test_promise_5_a_file_that_is_torn_at_any_byte_is_told(tmp_path: Path, name: str) -> None:
    whole = (RECORDED / name).read_bytes()
    assert problem(tmp_path, whole) is None
    for length in range(0, len(whole), 7):
        assert problem(tmp_path, whole[:length]) is not None, length
    assert problem(tmp_path, whole[:-1]) is not None


def test_a_hole_of_zeros_where_an_entry_begins_is_told(tmp_path: Path) -> None:
    """A page that a power cut left unwritten, in a file that has its end."""
    whole = bytearray((RECORDED / "optimizer.bin").read_bytes())
    with zipfile.ZipFile(RECORDED / "optimizer.bin") as file:
        (entry,) = [entry for entry in file.infolist() if entry.filename.endswith("/data/1")]
    whole[entry.header_offset : entry.header_offset + 64] = bytes(64)
    told = problem(tmp_path, bytes(whole))
    assert told is not None
    assert told.startswith("optimizer.bin is torn: its entry ")


def test_a_changed_byte_of_the_pickle_is_told(tmp_path: Path) -> None:
    whole = bytearray((RECORDED / "optimizer.bin").read_bytes())
    place = whole.index(b"exp_avg")
    whole[place] ^= 1
    assert problem(tmp_path, bytes(whole)) == "optimizer.bin is torn or not a file of torch.save"


class Evil:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


def test_promise_10_a_pickle_that_would_run_a_program_is_refused_and_does_nothing(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    told = problem(tmp_path, archive(pickle.dumps({"state": Evil(os.system, f"touch {trace}")}, protocol=2)))
    assert told == "optimizer.bin names posix.system, which has no place in a training state"
    assert not trace.exists()


@pytest.mark.parametrize(
    ("pickled", "sentence"),
    [
        (pickle.dumps({}, protocol=4), "optimizer.bin holds a pickle of protocol 4, which torch does not write"),
        (b"\x80\x02cbuiltins\neval\n.", "optimizer.bin names builtins.eval, which has no place in a training state"),
        (b"\x80\x02\x8c\x02os\x8c\x06system\x93.", "optimizer.bin holds the opcode SHORT_BINUNICODE"),
        (b"\x80\x02(S'id'\nios\nsystem\n.", "optimizer.bin holds the opcode STRING"),
        # The C unpickler would make room for four thousand million entries here.
        (b"\x80\x02}r" + struct.pack("<I", 2**32 - 2) + b".", None),
        (b"\x80\x02]]\x85}.", "optimizer.bin holds a damaged pickle"),
        (b"\x80\x02}]K\x01s.", "optimizer.bin holds a damaged pickle"),
        (b"\x80\x02K\x01K\x02e.", "optimizer.bin holds a damaged pickle"),
        (b"\x80\x02h\x07.", "optimizer.bin holds a damaged pickle"),
        (b"\x80\x02", "optimizer.bin holds a damaged pickle"),
        (b"", "optimizer.bin holds a damaged pickle"),
        (b"\x80\x02K\x01Q.", "optimizer.bin holds a damaged pickle"),
    ],
)
def test_a_pickle_that_torch_does_not_write(tmp_path: Path, pickled: bytes, sentence: str | None) -> None:
    told = problem(tmp_path, archive(pickled))
    assert told == sentence or (sentence is not None and told is not None and told.startswith(sentence))


def test_deep_nesting_is_read_or_refused_but_never_ends_the_daemon(tmp_path: Path) -> None:
    deep = b"\x80\x02" + b")" + b"\x85" * 200_000
    assert problem(tmp_path, archive(deep + b".")) is None
    assert problem(tmp_path, archive(b"\x80\x02}" + deep[2:] + b"Ns.")) == "optimizer.bin holds a damaged pickle"


STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ({"x/data/0": bytes(16)}, None),
        ({}, "optimizer.bin lacks the entry data/0 of a tensor"),
        ({"x/data/0": bytes(15)}, "optimizer.bin has 15 bytes in data/0, but needs 16"),
        ({"x/data/0": bytes(17)}, "optimizer.bin has 17 bytes in data/0, but needs 16"),
    ],
)
def test_a_tensor_whose_numbers_are_not_all_there(
    tmp_path: Path, entries: dict[str, bytes], sentence: str | None
) -> None:
    assert problem(tmp_path, archive(b"\x80\x02" + STORAGE + b".", entries=entries)) == sentence


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"state",
        pickle.dumps({}),
        archive(pickle.dumps({}, protocol=2), how=zipfile.ZIP_DEFLATED),
        archive(pickle.dumps({}, protocol=2), entries={"y/data.pkl": b""}),
        archive(b"").replace(b"x/data.pkl", b"x/data.plk"),
    ],
)
def test_what_is_no_file_of_torch_save(tmp_path: Path, data: bytes) -> None:
    told = problem(tmp_path, data)
    assert told is not None
    assert "not a file of torch.save" in told


def test_a_file_that_is_not_there_is_an_error_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        torch_file.read(tmp_path / "optimizer.bin")


DAMAGED = (ValueError, TypeError, IndexError, KeyError, RecursionError, UnicodeDecodeError, OverflowError)
"""What `read` turns into one error."""
_pickles = [(zipfile.ZipFile(RECORDED / name).read(f"{Path(name).stem}/data.pkl")) for name in FILES[:3]]


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_whatever_a_pickle_holds_the_outcome_is_a_value_or_one_error(data: st.DataObject) -> None:
    pickled = bytearray(data.draw(st.sampled_from(_pickles)))
    for _ in range(data.draw(st.integers(1, 6))):
        pickled[data.draw(st.integers(0, len(pickled) - 1))] = data.draw(st.integers(0, 255))
    del pickled[data.draw(st.integers(1, len(pickled))) :]
    machine = torch_file._Machine("optimizer.bin", {"0": 4})
    with suppress(NotTorch, *DAMAGED):
        machine.run(bytes(pickled))
