# SPDX-License-Identifier: Apache-2.0
"""Files of torch.save, read without torch: nothing in them is ever called, and no tensor is read.

Such a file is a ZIP archive with its directory at the end, so a torn one has none. `PREFIX/data.pkl` is a pickle of
protocol 2 in which each tensor names an entry `PREFIX/data/KEY` (pytorch.org/docs/stable/notes/serialization.html).
The pickle is walked by a machine of our own that knows only what torch writes: an opcode or a name beyond that is an
error, and a call becomes a `Call`, a record of what torch would do. So an evil file costs memory of its own size.
"""

import os
import pickletools
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

PICKLE_LIMIT = 64 * 1024 * 1024
"""Bytes; the pickle of a whole Flux LoRA's AdamW has 0.3 MB."""

LOCAL_HEADER = b"PK\x03\x04"
LOCAL_HEADER_BYTES = 30

# Names that optimizers, schedulers and random states hold, as `module name`. None of them is imported here.
KNOWN_NAMES = re.compile(
    r"torch \w+Storage|torch\.storage \w+Storage"
    r"|torch (float|double|half|bfloat|int|uint|long|short|bool|complex|float8_)\w*|torch (Size|device)"
    r"|torch\._utils (_rebuild_tensor|_rebuild_tensor_v2|_rebuild_parameter)|torch\._tensor _rebuild_from_type_v2"
    r"|collections (OrderedDict|defaultdict)|(builtins|__builtin__) (dict|list|set|tuple|bytearray|complex)"
    r"|_codecs encode|numpy(\._core|\.core)?\.multiarray (_reconstruct|scalar)|numpy (ndarray|dtype)"
    r"|numpy\.dtypes \w+DType"
)
ITEM_BYTES = {
    **dict.fromkeys(("Double", "Long", "ComplexFloat"), 8),
    **dict.fromkeys(("Float", "Int"), 4),
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    **dict.fromkeys(("Byte", "Char", "Bool", "Untyped"), 1),
}


class NotTorch(ValueError):
    """The text says what is wrong with the file, as a clause that begins with its name."""


@dataclass(frozen=True, slots=True)
class Name:
    """What a pickle calls by module and name."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """What torch would call."""

    function: Name
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Storage:
    """Numbers that lie in an entry of their own."""

    key: str
    items: int


def read(path: Path) -> Any:
    """What was saved: dicts, lists, tuples, text and numbers; a tensor is a Call. NotTorch or OSError."""
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return _read(path.name, file, archive)
        except (zipfile.BadZipFile, EOFError, NotImplementedError, UnicodeDecodeError, OverflowError):
            raise NotTorch(f"{path.name} is torn or not a file of torch.save") from None
        except (ValueError, TypeError, IndexError, KeyError, RecursionError) as error:
            if isinstance(error, NotTorch):
                raise
            raise NotTorch(f"{path.name} holds a damaged pickle") from None


def _read(name: str, file: BinaryIO, archive: zipfile.ZipFile) -> Any:
    entries = {entry.filename: entry for entry in archive.infolist()}
    for entry in entries.values():
        _check_entry(name, file, entry)
    pickles = [entry for entry in entries.values() if re.fullmatch(r"[^/]+/data\.pkl", entry.filename)]
    if len(pickles) != 1 or pickles[0].file_size > PICKLE_LIMIT:
        raise NotTorch(f"{name} is not a file of torch.save")
    prefix = pickles[0].filename.partition("/")[0]
    sizes = {
        key.removeprefix(f"{prefix}/data/"): entry.file_size
        for key, entry in entries.items()
        if key.startswith(f"{prefix}/data/")
    }
    return _Machine(name, sizes).run(archive.read(pickles[0]))  # its checksum is compared here


def _check_entry(name: str, file: BinaryIO, entry: zipfile.ZipInfo) -> None:
    """Stored as it is, inside the file, and its own header is there: a hole of zeros would have none."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise NotTorch(f"{name} is not a file of torch.save")
    header = os.pread(file.fileno(), LOCAL_HEADER_BYTES, entry.header_offset)
    if len(header) < LOCAL_HEADER_BYTES or not header.startswith(LOCAL_HEADER):
        raise NotTorch(f"{name} is torn: its entry {entry.filename} is not there")
    # No end of an entry need be compared with the file's: the directory comes after all of them.


class _Mark:
    """Where the items of a list, dict or tuple begin on the stack."""


_MARK = _Mark()


class _Machine:
    """Protocol 2, as far as torch writes it. The errors of plain Python on a senseless pickle are the caller's."""

    def __init__(self, file: str, sizes: dict[str, int]) -> None:
        self._file = file
        self._sizes = sizes
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, pickle: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(pickle):
            step = _STEPS.get(opcode.name)
            if step is None:
                raise NotTorch(f"{self._file} holds the opcode {opcode.name}, which torch does not write")
            step(self, argument)
        (value,) = self._stack
        return value

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def pop(self, _: Any = None) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("a mark where a value should be")
        return value

    def proto(self, version: int) -> None:
        if version != 2:
            raise NotTorch(f"{self._file} holds a pickle of protocol {version}, which torch does not write")

    def put(self, key: int) -> None:
        self._memo[int(key)] = self._stack[-1]

    def get(self, key: int) -> None:
        self._stack.append(self._memo[int(key)])

    def since_mark(self) -> list[Any]:
        items: list[Any] = []
        while (item := self._stack.pop()) is not _MARK:
            items.append(item)
        items.reverse()
        return items

    def tuple_of(self, count: int) -> None:
        items = [self.pop() for _ in range(count)]
        self._stack.append(tuple(reversed(items)))

    def append(self, items: list[Any]) -> None:
        self._top(list).extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Call) and target.function.text.startswith("collections "):
            return  # an OrderedDict or defaultdict: its items tell nothing that we look at
        keys = items[::2]
        if not all(isinstance(key, str | int) for key in keys):
            raise TypeError("a key that no state has")  # and hashing a deeply nested tuple overflows the C stack
        self._top(dict).update(zip(keys, items[1::2], strict=True))

    def _top(self, kind: type[Any]) -> Any:
        target = self._stack[-1]
        if not isinstance(target, kind):
            raise TypeError(f"not a {kind.__name__}")
        return target

    def name(self, text: str) -> None:
        if not KNOWN_NAMES.fullmatch(text):
            named = text.replace(" ", ".")
            raise NotTorch(f"{self._file} names {named}, which has no place in a training state")
        self._stack.append(Name(text))

    def call(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise TypeError("a call of what is no function")
        self._stack.append(Call(function, arguments))

    def build(self) -> None:
        self.pop()  # the inside of an array or a tensor: not looked at
        self._top(Call)

    def storage(self) -> None:
        kind_of_id, kind, key, _, items = self.pop()
        if kind_of_id != "storage" or not isinstance(kind, Name) or not isinstance(key, str):
            raise TypeError("a persistent id that is no storage")
        item = ITEM_BYTES.get(kind.text.rpartition(" ")[2].removesuffix("Storage"))
        if key not in self._sizes:
            raise NotTorch(f"{self._file} lacks the entry data/{key} of a tensor")
        if item is not None and self._sizes[key] != item * items:
            raise NotTorch(f"{self._file} has {self._sizes[key]} bytes in data/{key}, but needs {item * items}")
        self._stack.append(Storage(key, items))


_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.proto,
    "STOP": lambda *_: None,
    "MARK": lambda machine, _: machine.push(_MARK),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"), _Machine.push),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "POP": _Machine.pop,
    "GLOBAL": _Machine.name,
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.storage(),
}
