# SPDX-License-Identifier: Apache-2.0
"""The routes. Every method of fluxgym's tables is one; the others, which only HTTP needs, are in ADDITIONS."""

from collections.abc import Collection
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from fluxgym import web_access
from fluxgym.errors import FluxgymError
from fluxgym.protocol.async_client import AsyncClient
from fluxgym.protocol.dataset_methods import THUMBNAIL
from fluxgym.protocol.messages import Job
from fluxgym.protocol.output_methods import THUMBNAIL_OF_JOB
from fluxgymweb import answers
from fluxgymweb.answers import Json, WebError
from fluxgymweb.files import Files
from fluxgymweb.guard import Guard, cookie_name
from fluxgymweb.live import Live
from fluxgymweb.methods import Caller
from fluxgymweb.page import page
from fluxgymweb.uploads import Uploads

COOKIE_SECONDS = 400 * 24 * 3600
"""The longest time that browsers keep a cookie."""

ENDED = ("stopped", "completed", "failed", "damaged")

ADDITIONS = {
    "/api/v1/live": "server-sent events for one page: the replies of Watch, Events, Logs and Metrics",
    "/api/v1/summary": "what a hidden page shows in its tab",
    "/api/v1/files/{job}/{file:path}": "a file that a job has written, with Range",
    "/api/v1/thumbnails/jobs/{name}/{file:path}": "a small copy of a sample",
    "/api/v1/thumbnails/datasets/{name}/{picture:path}": "a small copy of a dataset's picture",
    "/api/v1/uploads/{dataset}/{file}": "a picture or a zip file for a dataset",
    "/enter": "a one-time link of `fluxgymctl web url`",
    "/{path:path}": "the page and its files",
}
"""The routes that are not methods, and what each is for."""


def create(client: AsyncClient, *, folder: Path, hosts: Collection[str]) -> Guard:
    """The application. `folder`: the web server's own; `hosts`: as for Guard."""
    live = Live(client)
    files = Files(client)
    token = web_access.token(folder)
    uploads = Uploads(client, folder / "uploads")

    async def summary(request: Request) -> Response:
        live.jobs.use()
        asked = set(request.query_params.getlist("job"))
        jobs = [msgspec.json.decode(value, type=Job) for value in live.jobs.values().values()]
        shown = [
            {"name": job.context.name, "state": job.runtime.state, "progress": job.runtime.progress}
            for job in jobs
            if job.runtime.state not in ENDED or job.context.name in asked
        ]
        known = live.jobs.problem is None and live.jobs.complete
        return Json({"known": known, "problem": live.jobs.problem, "jobs": shown})

    async def enter(request: Request) -> Response:
        right = web_access.burn(folder, request.query_params.get("code", ""))
        guard.tried(right=right)
        if not right:
            raise WebError(
                403, "LinkUsed", "This link was already used or has expired; `fluxgymctl web url` makes a new one."
            )
        home = f"{request.scope.get('root_path', '')}/"
        answer = RedirectResponse(home, status_code=303)
        answer.set_cookie(
            cookie_name(request.headers),
            web_access.cookie(token),
            max_age=COOKIE_SECONDS,
            path=home,
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return answer

    app = Starlette(
        routes=[
            Route("/api/v1/live", live, methods=["GET"]),
            Route("/api/v1/summary", summary),
            Route("/api/v1/files/{job}/{file:path}", files.download),
            Route("/api/v1/thumbnails/jobs/{name}/{file:path}", files.thumbnail(THUMBNAIL_OF_JOB)),
            Route("/api/v1/thumbnails/datasets/{name}/{picture:path}", files.thumbnail(THUMBNAIL)),
            Route("/api/v1/uploads/{dataset}/{file}", uploads.answer, methods=["PUT"]),
            Route("/enter", enter),
            Route("/api/v1/{method}", Caller(client).answer, methods=["POST"]),
            Route("/{path:path}", page),
        ],
        exception_handlers={FluxgymError: _refuse, HTTPException: _refuse},
    )
    guard = Guard(app, hosts=hosts, token=token)
    return guard


async def _refuse(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        error = WebError(error.status_code, "NotFound", f"{error.detail}.")
    assert isinstance(error, FluxgymError)
    return answers.refusal(error)
