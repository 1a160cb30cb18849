# SPDX-License-Identifier: Apache-2.0
"""Real trainings of the tiny model, from the page: one that runs out of memory goes on with settings that need less,
and a finished one is downloaded and goes on for more epochs."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import expect

from fluxgym.protocol.messages import State
from tests.daemon.running import TRAINER_PYTHON, RunningDaemon, context, write_script
from tests.web.browser.browsing import Served, Visit
from tests.web.serving import RunningWeb

# A trainer whose GPU is too small for one job, until that computes with 8 bits.
SMALL_GPU = f"""case "$FLUXGYM_ATTEMPT_ID $PWD $*" in
" "* | *--fp8_base* | */easy*) exec {TRAINER_PYTHON} "$@" ;;
esac
echo 'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.' >&2
exit 1"""


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    folder = Path(tempfile.mkdtemp(prefix="fg-"))
    env = {"FLUXGYM_TRAINER_PYTHON": str(write_script(folder / "python", SMALL_GPU))}
    with (
        RunningDaemon(folder, arguments=("--supervisor", "process"), env=env) as daemon,
        RunningWeb(folder, daemon.socket) as web,
    ):
        yield daemon, web
    shutil.rmtree(folder)


def test_a_training_that_ran_out_of_memory_is_resumed_with_settings_that_need_less(
    served: Served, visit: Visit, model: Path
) -> None:
    daemon = served[0]
    given = context("big", model, epochs=1)
    options = {**(given.trainer_options or {}), "mixed_precision": ["bf16"]}
    daemon.submit(msgspec.structs.replace(given, trainer_options=options))
    daemon.wait("big", State.FAILED)
    page = visit.open("/jobs/big")
    expect(page.get_by_text("CUDA out of memory").first).to_be_visible()
    page.get_by_role("button", name="Use the settings for 20 GB and resume").click()
    expect(page.get_by_text("big is queued again").filter(visible=True).first).to_be_visible()
    daemon.wait("big", State.COMPLETED)
    expect(page.get_by_role("main").get_by_text("Completed", exact=True)).to_be_visible()


def test_a_finished_training_is_downloaded_and_trains_four_more_epochs(
    served: Served, visit: Visit, model: Path
) -> None:
    daemon = served[0]
    daemon.submit(context("easy", model, epochs=1))
    daemon.wait("easy", State.COMPLETED)
    page = visit.open("/jobs/easy")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download,").click()
    lora = daemon.folder("easy") / "easy.safetensors"
    assert Path(download.value.path()).read_bytes() == lora.read_bytes()

    page.get_by_role("button", name="Train more epochs").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Epochs after it")).to_have_value("4")
    dialog.get_by_role("button", name="Queue").click()
    page.get_by_role("button", name="Open").click()
    expect(page).to_have_url(f"{visit.web.base}/jobs/easy-5")
    job = daemon.wait("easy-5", State.COMPLETED)
    expect(page.get_by_role("main").get_by_text("Completed", exact=True)).to_be_visible()
    assert job.runtime.progress is not None
    assert job.runtime.progress.step == 5 * 16
