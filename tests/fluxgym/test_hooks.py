# SPDX-License-Identifier: Apache-2.0
"""Hooks as written in the configuration; the address of a webhook is never shown."""

from pathlib import Path
from typing import Any

import pytest

from fluxgym import config, paths
from fluxgym.errors import ConfigInvalid
from fluxgym.hooks import RIGHT, Command, Webhook, parse

SECRET = "https://example.org/s3cr3t"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "etc"), "XDG_RUNTIME_DIR": "/run/user/1"}


def write(environ: dict[str, str], text: str) -> Path:
    file = paths.config_file(environ)
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    return file


@pytest.mark.parametrize(
    ("value", "hook"),
    [
        (["notify", "a b"], Command(("notify", "a b"))),
        ("notify 'a b'", Command(("notify", "a b"))),
        (SECRET, Webhook(SECRET)),
        ("HTTPS://example.org/x", Webhook("HTTPS://example.org/x")),
        ("http://127.0.0.1:8080/x", Webhook("http://127.0.0.1:8080/x")),
        ("http://[::1]/x", Webhook("http://[::1]/x")),
        ("http://localhost/x", Webhook("http://localhost/x")),
    ],
)
def test_a_hook_is_a_command_or_an_address(value: Any, hook: Command | Webhook) -> None:
    assert parse(value) == hook


def test_a_command_may_be_below_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    assert parse(["~/bin/told", "~"]) == Command(("/home/alice/bin/told", "~"))


@pytest.mark.parametrize(
    ("value", "right"),
    [
        ([], RIGHT),
        ([""], RIGHT),
        (["a", 1], RIGHT),
        (["a\0b"], RIGHT),
        (3, RIGHT),
        (True, RIGHT),
        ("'", RIGHT),
        ("http://example.org/s3cr3t", "http:// is accepted only for this machine"),
        ("https://", "an address with a host"),
        ("https://example.org:port/s3cr3t", "an address with a host"),
        ("https://[/s3cr3t", "an address with a host"),
        ("https://example.org/s3cr3t here", "an address in printable ASCII"),
        ("https://example.org/s3cr3t\nx", "an address in printable ASCII"),
        ("https://user:s3cr3t@example.org/", "an address without a user name and password"),
    ],
)
def test_a_wrong_hook_is_refused_with_its_line_and_without_its_secret(
    value: Any, right: str, environ: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match=r"^an? ") as refused:
        parse(value)
    assert right in str(refused.value)
    if isinstance(value, str):
        file = write(
            environ, f"[hooks]\non_fail = {value!r}\n" if "\n" not in value else f'[hooks]\non_fail = """{value}"""\n'
        )
        with pytest.raises(ConfigInvalid) as invalid:
            config.load(environ)
        assert str(invalid.value).startswith(f"{file}, line 2: hooks.on_fail must be ")
        assert "s3cr3t" not in str(invalid.value)


def test_a_printed_address_only_says_that_it_is_set(environ: dict[str, str]) -> None:
    write(environ, f'[hooks]\non_stuck = ["a", "b c"]\non_finish = "{SECRET}"\n')
    loaded = config.load(environ)
    assert loaded.hooks == {"stuck": Command(("a", "b c")), "finish": Webhook(SECRET)}
    assert [str(hook) for hook in loaded.hooks.values()] == ["a 'b c'", "set"]
    assert "s3cr3t" not in repr(loaded)


def test_a_file_with_an_address_must_be_private(environ: dict[str, str]) -> None:
    file = write(environ, f'[hooks]\non_finish = "{SECRET}"\n')
    assert config.exposed(config.load(environ), environ) is None
    file.chmod(0o640)
    problem = config.exposed(config.load(environ), environ)
    assert problem is not None
    assert problem.endswith(f"`chmod 600 {file}`.")


def test_other_files_and_other_sources_may_be_readable(environ: dict[str, str]) -> None:
    file = write(environ, '[hooks]\non_finish = ["a"]\n')
    file.chmod(0o644)
    assert config.exposed(config.load(environ), environ) is None
    assert config.exposed(config.load({**environ, "FLUXGYM_HOOKS_ON_FINISH": SECRET}), environ) is None
