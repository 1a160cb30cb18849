# SPDX-License-Identifier: Apache-2.0
"""Downloads of what a job has written, and thumbnails. A request names a file by its id, and the daemon
says where it is. Only a regular file is served, never a link."""

import os
from collections.abc import Awaitable, Callable
from pathlib import PurePosixPath
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from fluxgym.files import open_file
from fluxgym.protocol.async_client import AsyncClient
from fluxgym.protocol.methods import JobName, Method
from fluxgym.protocol.output_methods import FILES
from fluxgymweb import answers
from fluxgymweb.answers import WebError

Endpoint = Callable[[Request], Awaitable[Response]]

TYPES = {
    ".png": "image/png",
    ".webp": "image/webp",
    **dict.fromkeys((".jpg", ".jpeg"), "image/jpeg"),
    **dict.fromkeys((".log", ".txt", ".toml"), "text/plain; charset=utf-8"),
}
"""Content types by file extension; everything else is application/octet-stream."""


class Files:
    """Serves files that the daemon names."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def download(self, request: Request) -> Response:
        """Serves a file of a job, with Range."""
        job, wanted = request.path_params["job"], request.path_params["file"]
        reply = await self._client.call(FILES, JobName(name=job))
        path = next((file.path for file in reply.files if file.name == wanted), None)
        if path is None:
            raise WebError(404, "NoSuchFile", f"{job} has no file {wanted}.")
        return OpenFile(path, name=PurePosixPath(wanted).name, cache="private, no-cache")

    def thumbnail(self, method: Method[Any, Any]) -> Endpoint:
        """Answers with the small copy of a picture that this method makes. The address and the query go to it."""

        async def answer(request: Request) -> Response:
            parameters = answers.query(request, method.parameters, **request.path_params)
            reply = await self._client.call(method, parameters)
            return OpenFile(reply.path, name=None, cache="private, max-age=60")

        return answer


class OpenFile(FileResponse):
    """Serves a file, which is opened before it is examined, so that it cannot be replaced in between. `name`: for a
    download; None to show a picture."""

    def __init__(self, path: str, *, name: str | None, cache: str) -> None:
        try:
            self._descriptor = open_file(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError as error:
            raise WebError(404, "NoSuchFile", f"This file cannot be read: {error.strerror}.") from None
        kind = TYPES.get(PurePosixPath(name or path).suffix.lower(), "application/octet-stream")
        super().__init__(
            f"/proc/self/fd/{self._descriptor}",
            media_type=kind if name or kind.startswith("image/") else "image/jpeg",
            filename=name,
            headers={"Cache-Control": cache},
            stat_result=os.fstat(self._descriptor),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            os.close(self._descriptor)
