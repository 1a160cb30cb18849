# SPDX-License-Identifier: Apache-2.0
"""Serves the built page. A request's path is never joined to a folder: it is looked up among the existing files."""

import base64
import hashlib
import html
import mimetypes
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from fluxgym import __version__
from fluxgymweb.answers import WebError

STATIC = Path(__file__).parent / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)

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
        kind, _ = mimetypes.guess_type(wanted)
        return Response(files[wanted].read_bytes(), media_type=kind, headers={"Cache-Control": lasting})
    if wanted.startswith(("api/", "assets/")):
        raise WebError(404, "NotFound", "Page not found.")
    if "index.html" not in files:
        return HTMLResponse(_NOT_BUILT, status_code=503)
    text = _filled(files["index.html"].read_text("utf-8"), root)
    return HTMLResponse(text, headers={"Cache-Control": "no-cache", "Content-Security-Policy": _policy(text)})


def _policy(text: str) -> str:
    """POLICY with the hashes of the style and the script that are in the HTML, which it allows too."""
    policy = POLICY
    for kind, inline in _INLINE.findall(text):
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        policy = policy.replace(f"{kind}-src 'self'", f"{kind}-src 'self' 'sha256-{digest}'")
    return policy


def _filled(text: str, root: str) -> str:
    """Fills in what the page's script has to know: `data-version`, and below a proxy's path (--root-path)
    `data-root`. There, the address of the script begins with that path too."""
    text = text.replace('data-version=""', f'data-version="{__version__}"')
    if not root:
        return text
    below = html.escape(root)
    return text.replace('src="/', f'src="{below}/').replace('data-root=""', f'data-root="{below}"')
