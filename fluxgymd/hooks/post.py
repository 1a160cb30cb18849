# SPDX-License-Identifier: Apache-2.0
"""Posts its standard input to a web address: the first line is the address, and the rest is the body.

This is a separate program, because a server may answer slowly or send anything. It uses only the standard library.
The address is a secret (docs/hooks.md), so it is not an argument, and only its host is ever printed.
"""

import http.client
import sys
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirects. The standard handler would follow them with a GET without the body, to any address."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def post(address: str, body: bytes) -> str | None:
    """Why the POST failed, as a sentence; None if the server accepted it."""
    host = urlsplit(address).hostname
    headers = {"Content-Type": "application/json", "User-Agent": "fluxgymd"}
    request = urllib.request.Request(address, data=body, headers=headers, method="POST")
    try:
        with urllib.request.build_opener(_NoRedirects).open(request):
            return None
    except urllib.error.HTTPError as error:
        error.close()
        return f"{host} answered {error.code} ({http.client.responses.get(error.code, 'unknown')})."
    except urllib.error.URLError as error:
        why = error.reason.strerror if isinstance(error.reason, OSError) and error.reason.strerror else error.reason
        return f"{host} cannot be reached: {why}."
    except (OSError, http.client.HTTPException) as error:
        return f"{host} did not answer: {type(error).__name__}."


def main() -> int:
    address, _, body = sys.stdin.buffer.read().partition(b"\n")
    problem = post(address.decode("ascii"), body)
    if problem is not None:
        print(problem, file=sys.stderr)
    return 0 if problem is None else 1


if __name__ == "__main__":
    sys.exit(main())
