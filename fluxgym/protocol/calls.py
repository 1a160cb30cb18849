# SPDX-License-Identifier: Apache-2.0
"""Encodes calls and decodes replies, without I/O; shared by the blocking client and the asyncio one."""

from pathlib import Path
from typing import Any

import msgspec

from fluxgym.errors import AnswerMissing, DaemonUnreachable, from_wire
from fluxgym.protocol.framing import FrameError, decode, encode
from fluxgym.protocol.methods import Method, Parameters, Reply

REPLY_LIMIT = 64 * 1024 * 1024
"""The largest reply in bytes that a client accepts. The daemon limits its replies; this guards against a broken
one."""

RESTARTS = 5
"""How many times the daemon may stop before it answers a call."""

READ_BYTES = 256 * 1024
"""How many bytes a client reads at once."""


def call_frame(method: Method[Parameters, Reply], parameters: Parameters, *, more: bool) -> bytes:
    """The bytes of a call. `more`: for a stream."""
    call: dict[str, Any] = {"method": method.name, "parameters": parameters}
    if more:
        call["more"] = True
    return encode(call)


def read_reply(path: Path, method: Method[Parameters, Reply], frame: bytes) -> tuple[Reply, bool]:
    """The reply in a frame, and whether more will come. An error reply is raised as its exception; AnswerMissing if
    the frame cannot be read."""
    try:
        message = decode(frame)
    except FrameError as error:
        raise gone(path, str(error)) from None
    parameters = message.get("parameters") or {}
    if "error" in message:
        raise from_wire(message["error"], parameters)
    try:
        return msgspec.convert(parameters, method.reply), bool(message.get("continues"))
    except msgspec.ValidationError as error:
        raise gone(path, f"its answer to {method.name} cannot be read: {error}") from None


def unreachable(path: Path, error: OSError) -> DaemonUnreachable:
    return DaemonUnreachable(
        f"No daemon answers at {path} ({error.strerror or error}); start it with "
        "`systemctl --user start fluxgymd` or run `fluxgymd`."
    )


def gone(path: Path, why: str | None) -> AnswerMissing:
    return AnswerMissing(f"Lost the connection to the daemon at {path}: {why}.")


def keeps_stopping(path: Path) -> DaemonUnreachable:
    return DaemonUnreachable(
        f"The daemon at {path} keeps stopping before it answers; `journalctl --user -u fluxgymd` shows why."
    )
