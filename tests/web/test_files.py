# SPDX-License-Identifier: Apache-2.0
"""Downloads, thumbnails, uploads, and the page's own files, over HTTP."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from fluxgymweb import page
from fluxgymweb.answers import WebError
from fluxgymweb.files import OpenFile
from tests.daemon.running import RunningDaemon, program
from tests.fluxgymctl.program import ctl
from tests.web.serving import RunningWeb


def picture(side: int = 600) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((side, side), 90).save(file, "png")
    return file.getvalue()


def test_a_download_has_a_fixed_type_and_can_be_resumed(web: RunningWeb, daemon: RunningDaemon) -> None:
    daemon.submit(program("a", "echo 0123456789; echo '{\"files\": []}' > result.json"))
    daemon.wait("a", "completed")  # type: ignore[arg-type]  # State is a string
    with web.client() as client:
        whole = client.get("/api/v1/files/a/training.log")
        assert (whole.status_code, whole.text) == (200, "0123456789\n")
        assert whole.headers["content-disposition"] == 'attachment; filename="training.log"'
        assert whole.headers["content-type"] == "text/plain; charset=utf-8"
        rest = client.get("/api/v1/files/a/training.log", headers={"Range": "bytes=4-"})
        assert (rest.status_code, rest.text) == (206, "456789\n")
        assert client.get("/api/v1/files/a/owner.json").status_code == 404


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/etc/passwd", path)])
def test_only_a_regular_file_is_opened(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a.log")
    with pytest.raises(WebError, match="This file cannot be read"):
        OpenFile(str(tmp_path / "a.log"), name="a.log", cache="no-store")


def test_an_upload_becomes_a_picture_and_leaves_nothing(web: RunningWeb) -> None:
    assert web.call("org.fluxgym.Datasets.Create", name="cats").status_code == 200
    with web.client() as client:
        added = client.put("/api/v1/uploads/cats/my%20cat.png", content=picture())
        assert added.status_code == 200
        assert '"added":1' in added.text
        small = client.get("/api/v1/thumbnails/datasets/cats/my%20cat.png", params={"side": 64})
        assert (small.status_code, small.headers["content-type"]) == (200, "image/jpeg")
        refused = client.put("/api/v1/uploads/cats/broken.png", content=b"no picture")
        assert '"problem"' in refused.text
        assert client.put("/api/v1/uploads/none/a.png", content=picture()).status_code == 404
    assert list((web.state / "uploads").iterdir()) == []


@pytest.mark.parametrize("name", [".hidden.png", "%2e%2e", "a%0a.png", "a%2f..%2fb.png", "x" * 121, "-.png"])
def test_the_name_of_an_upload_is_only_a_label(shared_web: RunningWeb, name: str) -> None:
    with shared_web.client() as client:
        answer = client.put(f"/api/v1/uploads/cats/{name}", content=b"x")
    assert answer.status_code in (400, 404, 405)
    assert list((shared_web.state / "uploads").iterdir()) == []


def test_an_upload_that_breaks_off_leaves_nothing(web: RunningWeb) -> None:
    def half() -> object:
        yield b"x" * 100_000
        raise OSError("the network is gone")

    with web.client() as client, pytest.raises(OSError, match="the network is gone"):
        client.put("/api/v1/uploads/cats/a.png", content=half())  # type: ignore[arg-type]
    left = web.state / "uploads/left"
    web.stop()
    left.mkdir()
    web.start()
    assert not left.exists()


def test_the_url_of_every_view_returns_the_page(
    shared_web: RunningWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shared_web.client() as client:
        answers = [client.get(path) for path in ("/", "/jobs/a")]
    assert {answer.headers["content-type"] for answer in answers} == {"text/html; charset=utf-8"}
    assert answers[0].text == answers[1].text
    if not (page.STATIC / "index.html").exists():
        assert answers[0].status_code == 503
        assert "not built" in answers[0].text


def test_open_writes_the_link_to_a_file_that_only_the_user_can_read(tmp_path: Path) -> None:
    done = ctl("web", "open", XDG_STATE_HOME=str(tmp_path), BROWSER="true")
    assert (done.returncode, done.stderr) == (0, "")
    file = tmp_path / "fluxgym/web/open.html"
    assert "/enter?code=" in file.read_text()
    assert os.stat(file).st_mode & 0o077 == 0
