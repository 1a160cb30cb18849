# SPDX-License-Identifier: Apache-2.0
"""Serves the built page. A request's path is never joined to a folder: it is looked up among the existing files."""

import html
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from fluxgym import __version__
from fluxgymweb.answers import WebError

STATIC = Path(__file__).parent / "static"

_NOT_BUILT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>FluxGym</title><h1>FluxGym</h1>
<p>The server runs, but its page is not built. Build it with <code>pip install .</code> in the checkout, without
<code>FLUXGYM_NO_UI</code>, and load this page again.</p></html>"""


async def page(request: Request) -> Response:
    """Serves a file of the page, or the page itself for every other path, since each view of the page has its own
    URL."""
    root = request.scope.get("root_path", "")
    wanted = request.url.path.removeprefix(root).lstrip("/")
    files = {path.relative_to(STATIC).as_posix(): path for path in STATIC.rglob("*") if path.is_file()}
    if wanted in files and wanted != "index.html":
        # The name of an asset contains a hash of its content.
        lasting = "no-cache" if "/" not in wanted else "public, max-age=31536000, immutable"
        return FileResponse(files[wanted], headers={"Cache-Control": lasting})
    if wanted.startswith(("api/", "assets/")):
        raise WebError(404, "NotFound", "Page not found.")
    if "index.html" not in files:
        return HTMLResponse(_NOT_BUILT, status_code=503)
    return HTMLResponse(_filled(files["index.html"].read_text("utf-8"), root), headers={"Cache-Control": "no-cache"})


def _filled(text: str, root: str) -> str:
    """Fills in what the page's script has to know: `data-version`, and below a proxy's path (--root-path)
    `data-root`. There, the links to assets begin with that path too."""
    text = text.replace('data-version=""', f'data-version="{__version__}"')
    if not root:
        return text
    below = html.escape(root)
    for name in ("href", "src"):
        text = text.replace(f'{name}="/', f'{name}="{below}/')
    return text.replace('data-root=""', f'data-root="{below}"')
