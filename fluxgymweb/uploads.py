# SPDX-License-Identifier: Apache-2.0
"""Uploads: streamed to a folder of the server, passed to Datasets.Add by path, and deleted.

The name from the browser is only a label: each upload has a folder of its own, so no two collide. Bytes are counted
as they arrive, and the daemon sees a file only once it is complete.
"""

import asyncio
import re
import shutil
import tempfile
import unicodedata
from collections.abc import AsyncGenerator
from contextlib import aclosing
from io import FileIO
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from fluxgym.protocol.async_client import AsyncClient
from fluxgym.protocol.dataset_methods import ADD_PICTURES, AddParameters, AddReply
from fluxgymweb.answers import WebError
from fluxgymweb.methods import lines

PICTURE_BYTES = 200 * 10**6
ZIP_BYTES = 10 * 10**9
FREE_BYTES = 2**30
"""How many bytes have to stay free on the disk."""
IDLE_SECONDS = 60.0
"""How many seconds a browser may send nothing."""

_NAME = re.compile(r"[\w][\w .()+-]{0,119}")


class Uploads:
    """`folder`: the server's own, which is emptied."""

    def __init__(self, client: AsyncClient, folder: Path) -> None:
        self._client = client
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)

    async def answer(self, request: Request) -> Response:
        """Receives a picture or a zip file, and responds with the replies of Datasets.Add."""
        name = unicodedata.normalize("NFC", request.path_params["file"])
        if not _NAME.fullmatch(name):
            raise WebError(400, "InvalidName", "A file name has at most 120 letters, digits, spaces and . _ - ( ) +.")
        return await lines(self._added(request, name))

    async def _added(self, request: Request, name: str) -> AsyncGenerator[AddReply, None]:
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            file = Path(folder) / name
            await _receive(request, file)
            parameters = AddParameters(name=request.path_params["dataset"], path=str(file))
            async with aclosing(self._client.stream(ADD_PICTURES, parameters)) as replies:
                async for reply in replies:
                    yield reply


async def _receive(request: Request, file: Path) -> None:
    most = ZIP_BYTES if file.suffix.lower() == ".zip" else PICTURE_BYTES
    chunks = request.stream()
    size = 0
    with file.open("xb", buffering=0) as opened:
        while True:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    chunk = await anext(chunks, None)
            except TimeoutError:
                raise WebError(408, "TooSlow", f"{file.name}: no data came for {IDLE_SECONDS:g} s.") from None
            if chunk is None:
                break
            size += len(chunk)
            if size > most:
                raise WebError(413, "TooLarge", f"{file.name} has more than {most // 10**6} MB.")
            await asyncio.to_thread(_write, opened, chunk)


def _write(file: FileIO, chunk: bytes) -> None:
    try:
        if shutil.disk_usage(file.fileno()).free < FREE_BYTES + len(chunk):
            raise WebError(507, "DiskFull", "The disk is nearly full; free some space, and upload again.")
        while chunk:
            chunk = chunk[file.write(chunk) :]
    except OSError as error:
        raise WebError(507, "DiskFull", f"The upload cannot be stored: {error.strerror}.") from None
