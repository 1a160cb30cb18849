# SPDX-License-Identifier: Apache-2.0
"""Downloads of what a job has written, and thumbnails. A request names a file by its id; the path comes from the
daemon, and what is opened there has to be a regular file and no link."""

import os
from pathlib import PurePosixPath

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from fluxgym.async_client import AsyncClient
from fluxgym.files import open_file
from fluxgym.methods import JobName
from fluxgym.output_methods import FILES
from fluxgymweb.answers import WebError
from fluxgymweb.methods import METHODS

TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".log": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".toml": "text/plain; charset=utf-8",
}
"""The types by the endings of names; everything else is bytes."""

THUMBNAILS = {
    "jobs": ("org.fluxgym.Jobs.Thumbnail", "file"),
    "datasets": ("org.fluxgym.Datasets.Thumbnail", "picture"),
}
"""The method that makes a thumbnail, and its parameter that names the picture."""


class Files:
    """Answers with files of the daemon."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def download(self, request: Request) -> Response:
        """A file of a job, with Range."""
        job, wanted = request.path_params["job"], request.path_params["file"]
        reply = await self._client.call(FILES, JobName(name=job))
        path = next((file.path for file in reply.files if file.name == wanted), None)
        if path is None:
            raise WebError(404, "NoSuchFile", f"{job} has no file {wanted}.")
        return OpenFile(path, name=PurePosixPath(wanted).name, cache="private, no-cache")

    async def thumbnail(self, request: Request) -> Response:
        """A small copy of a picture. The query goes to the method."""
        name, parameter = THUMBNAILS.get(request.path_params["of"], ("", ""))
        method = METHODS.get(name)
        if method is None:
            raise WebError(404, "NotFound", "There are no such thumbnails.")
        given = {"name": request.path_params["name"], parameter: request.path_params["picture"]}
        try:
            parameters = msgspec.convert(dict(request.query_params) | given, method.parameters, strict=False)
        except msgspec.ValidationError as error:
            raise WebError(400, "InvalidParameter", f"The query cannot be read: {error}.") from None
        reply = await self._client.call(method, parameters)
        return OpenFile(reply.path, name=None, cache="private, max-age=60")


class OpenFile(FileResponse):
    """A file that is opened before it is looked at, so that it cannot be replaced in between. `name`: for a download;
    None to show a picture."""

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
