# SPDX-License-Identifier: Apache-2.0
"""How a browser gets access to the web server: a token that only its user can read, and one-time links.

`fluxgymctl web url` creates a link, and the web server uses it up: a link is a file named after the hash of its code,
and deleting the file succeeds only once. So neither program has to ask the other, and the folder contains no valid
code. The cookie is derived from the token, so a new token ends every session.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path

from fluxgym.errors import FluxgymError
from fluxgym.files import read_file

PORT = 7860
"""The port of the web server, unless `--port` names another."""

LINK_SECONDS = 600.0
"""How long a link is valid."""

TOKEN_BYTES = 32


def token(folder: Path) -> str:
    """The token in the web server's folder, which is created if it does not exist."""
    _private(folder)
    file = folder / "token"
    while True:
        with contextlib.suppress(FileNotFoundError):
            found = read_file(file, most=4096).decode("ascii", errors="replace").strip()
            if len(found) < TOKEN_BYTES:
                raise FluxgymError(f"{file} holds no token; delete it to get a new one.")
            return found
        fresh = folder / f".token-{secrets.token_hex(8)}"
        _write(fresh, secrets.token_urlsafe(TOKEN_BYTES) + "\n")
        try:
            os.link(fresh, file)  # unlike a rename, this never replaces the token of a program that was faster
        except FileExistsError:
            pass
        finally:
            fresh.unlink()


def address(folder: Path, port: int | None = None) -> str:
    """The address of the web server: with this port, or else the one that the last server to start has remembered."""
    if port is None:
        with contextlib.suppress(OSError):
            return read_file(folder / "address", most=4096).decode("utf-8").strip()
    return f"http://127.0.0.1:{port or PORT}"


def note_address(folder: Path, address: str) -> None:
    """Remembers the address of a server, for `address`."""
    write_private(folder / "address", f"{address}\n")


def forget_address(folder: Path) -> None:
    (folder / "address").unlink(missing_ok=True)


def cookie(token: str) -> str:
    """The value of the cookie that a link sets."""
    return hmac.new(token.encode(), b"cookie", hashlib.sha256).hexdigest()


def same(given: str, right: str) -> bool:
    """Compares two secrets in constant time."""
    return hmac.compare_digest(given.encode(errors="replace"), right.encode())


def new_link(folder: Path) -> str:
    """Creates a link and returns its code."""
    links = folder / "links"
    _private(folder)
    _private(links)
    _drop_old(links)
    code = secrets.token_urlsafe(TOKEN_BYTES)
    _write(links / _hash(code), "")
    return code


def burn(folder: Path, code: str) -> bool:
    """Uses up a link. Returns whether its code was valid, that is, neither used nor expired."""
    _drop_old(folder / "links")
    try:
        (folder / "links" / _hash(code)).unlink()
    except OSError:
        return False
    return True


def _drop_old(links: Path) -> None:
    oldest = time.time() - LINK_SECONDS
    with contextlib.suppress(OSError):  # there are no links yet, or another program has just deleted one
        for link in links.iterdir():
            if link.stat().st_mtime < oldest:
                link.unlink()


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode(errors="replace")).hexdigest()


def _private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def write_private(file: Path, text: str) -> None:
    """Writes or replaces a file that only this user can read."""
    _private(file.parent)
    fresh = file.with_name(f".{file.name}-{secrets.token_hex(8)}")
    _write(fresh, text)
    fresh.replace(file)


def _write(file: Path, text: str) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as opened:
        opened.write(text)
