# SPDX-License-Identifier: Apache-2.0
"""What ends an upload while it comes, and that nothing of it stays. The limits are small here."""

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from fluxgym.protocol.async_client import AsyncClient
from fluxgymweb import uploads
from fluxgymweb.answers import WebError
from tests.harness.waiting import forever


@contextmanager
def files_of_at_most(size: float | None) -> Iterator[None]:
    """Makes each write beyond a file's size fail, as on a full disk; None: nothing fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else int(size), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("name", "limits", "chunks", "status"),
    [
        ("a.png", {"PICTURE_BYTES": 150}, 2, 413),
        ("a.zip", {"PICTURE_BYTES": 1, "ZIP_BYTES": 250}, 3, 413),
        ("a.ZIP", {"PICTURE_BYTES": 1, "ZIP_BYTES": 250}, 3, 413),
        ("a.png", {"FREE_BYTES": 2**62}, 1, 507),
        ("a.png", {"RLIMIT_FSIZE": 150}, 2, 507),
        ("a.png", {"IDLE_SECONDS": 0.05}, 5, 408),
    ],
)
def test_an_upload_is_refused_while_it_comes_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, limits: dict[str, float], chunks: int, status: int
) -> None:
    for limit, value in limits.items():
        if limit in vars(uploads):
            monkeypatch.setattr(uploads, limit, value)
    read = 0

    async def receive() -> Any:
        nonlocal read
        if read == 5:
            await forever()
        read += 1
        return {"type": "http.request", "body": bytes(100), "more_body": True}

    scope = {"type": "http", "method": "PUT", "headers": [], "path_params": {"dataset": "cats", "file": name}}
    spool = tmp_path / "spool"
    server = uploads.Uploads(AsyncClient(tmp_path / "none"), spool)
    with pytest.raises(WebError) as raised, files_of_at_most(limits.get("RLIMIT_FSIZE")):
        asyncio.run(server.answer(Request(scope, receive)))
    assert (raised.value.status, read) == (status, chunks)
    assert list(spool.iterdir()) == []


def test_the_limits_are_those_of_the_documentation() -> None:
    assert (uploads.PICTURE_BYTES, uploads.ZIP_BYTES) == (200 * 10**6, 10 * 10**9)
