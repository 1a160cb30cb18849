# SPDX-License-Identifier: Apache-2.0
"""Tests of the program that posts to a URL, with a real web server. Its output never contains the secret."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from fluxgymd.hooks import post
from tests.harness.waiting import DEADLINE_SECONDS
from tests.hooks.web import Web

BODY = b'{"text": "my-lora is stuck"}'


def run(address: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", post.__file__]
    done = subprocess.run(
        command, input=f"{address}\n".encode() + BODY, capture_output=True, timeout=DEADLINE_SECONDS
    )
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_the_body_is_posted_as_json() -> None:
    with Web() as web:
        done = run(f"{web.address}/secret?tpl=1&m={{{{.text}}}}")
        posted = web.next()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (posted.path, posted.body) == ("/secret?tpl=1&m={{.text}}", BODY)
    assert posted.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (403, "127.0.0.1 answered 403 (Forbidden).\n"),
        (302, "127.0.0.1 answered 302 (Found).\n"),  # a redirect that is followed would lose the body
        (599, "127.0.0.1 answered 599 (unknown).\n"),
    ],
)
def test_a_rejected_post_is_a_failure_that_does_not_show_the_secret(status: int, said: str) -> None:
    with Web(status=status) as web:
        done = run(f"{web.address}/secret")
        web.next()
        assert web.posted.empty()
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


def test_a_missing_server_is_reported() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: it refuses connections, and nobody else can take it
        done = run(f"http://127.0.0.1:{unused.getsockname()[1]}/secret")
    assert (done.returncode, done.stderr) == (1, "127.0.0.1 cannot be reached: Connection refused.\n")


def test_a_server_with_a_nonsensical_answer_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/secret"
        process = subprocess.Popen(
            [sys.executable, "-I", post.__file__], stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(f"{address}\n".encode() + BODY)
        process.stdin.close()
        connection, _ = server.accept()
        connection.recv(1)
        connection.sendall(b"hello\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        said = process.stderr.read().decode()
        connection.close()
        process.stderr.close()
        assert process.wait(timeout=DEADLINE_SECONDS) == 1
    assert said.startswith("127.0.0.1 did not answer: ")
    assert "secret" not in said
