# SPDX-License-Identifier: Apache-2.0
"""Paths and arguments that the system rejects: whichever setting has them, the error gives the reason."""

import shutil
from pathlib import Path

import msgspec
import pytest

from fluxgym.errors import FileMissing, FluxgymError, InvalidDataset, InvalidSetting, StorageFailed
from fluxgym.protocol.messages import Context, Kind, State
from fluxgymd.trainers.command_line import LONGEST_ARGUMENT
from tests.daemon.running import RunningDaemon, context

LONG = "/" + "a" * 300
DEEP = "/a" * 5000
FIELDS = ("transformer", "clip_l", "t5xxl", "autoencoder", "tokenizers")


def refusal(daemon: RunningDaemon, wrong: Context) -> FluxgymError:
    with pytest.raises((FileMissing, InvalidSetting, InvalidDataset)) as caught:
        daemon.submit(wrong)
    assert not list((daemon.home / "outputs").iterdir())
    assert "Traceback" not in daemon.log.read_text()
    return caught.value


@pytest.mark.parametrize("path", [LONG, DEEP], ids=["long name", "long path"])
def test_a_path_that_cannot_be_examined_is_refused_with_the_reason(
    daemon: RunningDaemon, model: Path, path: str
) -> None:
    good = context("my-lora", model)
    assert good.model is not None
    for field in FIELDS:
        changed = msgspec.structs.replace(good.model, **{field: path})
        said = refusal(daemon, msgspec.structs.replace(good, model=changed)).message
        assert f"{path}" in said
        assert "cannot be examined: file name too long" in said
    options = (good.trainer_options or {}) | {"network_weights": [path]}
    said = refusal(daemon, msgspec.structs.replace(good, trainer_options=options)).message
    assert "trainer_options.network_weights" in said
    assert "cannot be examined: file name too long" in said
    said = refusal(daemon, msgspec.structs.replace(good, dataset=path)).message
    assert f"The dataset {path} cannot be read: file name too long" in said
    said = refusal(daemon, Context(name="my-lora", kind=Kind.PROGRAM, program=[path])).message
    assert said == f"The program {path} cannot be examined: file name too long."


def test_a_nul_in_any_text_is_refused(daemon: RunningDaemon, model: Path) -> None:
    good = context("my-lora", model)
    assert good.model is not None
    wrong: list[Context] = [
        msgspec.structs.replace(good, dataset="/pic\0tures"),
        msgspec.structs.replace(good, trainer_options={"network_weights": ["/a\0b"]}),
        Context(name="my-lora", kind=Kind.PROGRAM, program=["/bin/true\0"]),
        *(
            msgspec.structs.replace(good, model=msgspec.structs.replace(good.model, **{field: "/a\0b"}))
            for field in FIELDS
        ),
    ]
    for one in wrong:
        assert "NUL character" in refusal(daemon, one).message


def test_the_longest_argument_is_taken_and_a_longer_one_is_refused(daemon: RunningDaemon) -> None:
    """If it were accepted, the kernel would refuse it at each start, and FluxGym would keep retrying the job."""

    def echo(size: int) -> Context:
        return Context(name="echo", kind=Kind.PROGRAM, program=["/bin/sh", "-c", "exit 3", "x" * size])

    refused = refusal(daemon, echo(LONGEST_ARGUMENT + 1))
    assert f"program has an argument of {LONGEST_ARGUMENT + 1} bytes" in refused.message
    daemon.submit(echo(LONGEST_ARGUMENT))
    assert daemon.wait("echo", State.FAILED).runtime.reason == "It exited with status 3."


def test_a_deleted_home_is_named(daemon: RunningDaemon, model: Path) -> None:
    kept = daemon.home.with_name("kept")
    daemon.home.rename(kept)
    for job in (context("my-lora", model), Context(name="p", kind=Kind.PROGRAM, program=["/bin/true"])):
        with pytest.raises(StorageFailed, match=rf"The disk of {daemon.home} refuses writes: .* is missing"):
            daemon.submit(job)
    assert "Traceback" not in daemon.log.read_text()
    shutil.rmtree(daemon.home, ignore_errors=True)
    kept.rename(daemon.home)
