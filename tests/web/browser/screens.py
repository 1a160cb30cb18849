# SPDX-License-Identifier: Apache-2.0
"""Every screen of the page in every state, in one table: axe checks them all, and `./dev shots` photographs them.

The states come one after the other in one browser: first those of a home without jobs, then those with jobs, then
those without a daemon. Each is shown as on a desktop and on a phone, light and dark.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import Literal

from playwright.sync_api import Page, expect

from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import RestartPolicy, State
from tests.daemon.running import RunningDaemon, context, program
from tests.harness.waiting import until
from tests.web.browser.browsing import DESKTOP, PHONE, Visit, wait_for

ENDLESS = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.2; done"
NIGHT_SECONDS = 9 * 3600


class Home(StrEnum):
    """What the daemon has when a screen is shown, in this order."""

    EMPTY = "no job"
    FULL = "a job in each state"
    AWAY = "no daemon"


@dataclass(frozen=True)
class Screen:
    """One state of a screen. `shows`: words that are visible once the state is reached. `reach`: what is done after
    the page has loaded."""

    name: str
    shows: str
    home: Home = Home.FULL
    path: str = "/"
    reach: Callable[[Page], object] | None = None


def choose(page: Page, *names: str) -> None:
    for name in names:
        page.get_by_label(f"Select {name}", exact=True).check()


def choose_and(words: str, *names: str) -> Callable[[Page], None]:
    """Ticks jobs, and presses a button of the bar."""

    def reach(page: Page) -> None:
        choose(page, *names)
        page.get_by_role("toolbar").get_by_role("button", name=words, exact=True).click()

    return reach


def press(words: str) -> Callable[[Page], None]:
    return lambda page: page.get_by_role("button", name=words, exact=True).click()


def open_sample(page: Page) -> None:
    page.get_by_role("main").get_by_role("table").get_by_role("img").first.click()


SCREENS = (
    Screen("jobs-empty", "Train your first LoRA", Home.EMPTY),
    Screen("jobs-away", "While you were away"),
    Screen("jobs", "animals", reach=lambda page: page.get_by_role("button", name="Got it").click()),
    Screen("jobs-filtered", "Clear filter", path="/?state=ended&tag=cat"),
    Screen("jobs-none-fits", "No job matches this filter.", path="/?q=nothing"),
    Screen("jobs-chosen", "2 selected", reach=lambda page: choose(page, "completed", "running")),
    Screen("jobs-stop", "A running program ends", reach=choose_and("Stop", "running")),
    Screen("jobs-move", "Move waiting", reach=choose_and("Move", "waiting")),
    Screen("jobs-held", "will not start until you release", reach=choose_and("Hold", "waiting")),
    Screen("jobs-removed", "spare removed.", reach=choose_and("Remove", "spare")),
    Screen("help", "Enable single-key shortcuts", reach=lambda page: page.keyboard.press("?")),
    Screen("nothing-here", "Page not found", path="/nothing/here"),
    Screen("job-running", "started", path="/jobs/running"),
    Screen("job-waiting", "in the queue", path="/jobs/waiting"),
    Screen("job-completed", "ended", path="/jobs/completed"),
    Screen("job-failed", "CUDA out of memory", path="/jobs/failed"),
    Screen("job-stopped", "It was stopped by the user.", path="/jobs/stopped"),
    Screen("job-interrupted", "It was ended from outside", path="/jobs/interrupted"),
    Screen("job-damaged", "events.jsonl", path="/jobs/damaged"),
    Screen("job-trained", "Use the LoRA", path="/jobs/trained"),
    Screen("job-more", "Epochs after it", path="/jobs/trained", reach=press("Train more epochs")),
    Screen("job-samples", "epoch 1", path="/jobs/trained/samples"),
    Screen("job-sample", "Compare with", path="/jobs/trained/samples", reach=open_sample),
    Screen("job-files", "Checkpoints", path="/jobs/trained/files"),
    Screen("job-settings", "Command line", path="/jobs/trained/settings"),
    Screen("job-log", "line 3", path="/jobs/stopped/log"),
    Screen("job-log-searched", "1 of", path="/jobs/trained/log?q=epoch"),
    Screen("job-missing", "There is no job", path="/jobs/missing"),
    Screen("system", "Only changed settings", path="/system"),
    Screen("jobs-daemon-away", "Your trainings may still be running.", Home.AWAY),
)


@dataclass(frozen=True)
class Look:
    """How the page is shown."""

    scheme: Literal["light", "dark"]
    size: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.scheme}-{self.size[0]}"

    def give(self, page: Page) -> None:
        page.emulate_media(color_scheme=self.scheme, reduced_motion="reduce")
        width, height = self.size
        page.set_viewport_size({"width": width, "height": height})


LOOKS = (Look("light", DESKTOP), Look("dark", DESKTOP), Look("dark", PHONE), Look("light", PHONE))


def walk(daemon: RunningDaemon, visit: Visit, model: Path) -> Iterator[tuple[str, Page]]:
    """Shows each screen in each look: its name with the look, and the page. The daemon runs again at the end."""
    for home, screens in groupby(SCREENS, lambda screen: screen.home):
        furnish(daemon, home, model)
        if home is Home.FULL:
            visit.context.clock.set_system_time(time.time() + NIGHT_SECONDS)
        for screen in screens:
            page = visit.open(screen.path)
            if home is Home.FULL and screen.path == "/":
                expect(page.get_by_role("link", name="running")).to_be_visible()
            if screen.reach is not None:
                screen.reach(page)
            expect(page.get_by_text(screen.shows).filter(visible=True).first).to_be_visible()
            wait_for(page, "[...document.images].every((image) => image.complete)")
            for look in LOOKS:
                look.give(page)
                yield f"{screen.name}-{look}", page
            page.close()
    daemon.start()


def furnish(daemon: RunningDaemon, home: Home, model: Path) -> None:
    """Makes what the screens of this home need."""
    match home:
        case Home.EMPTY:
            assert daemon.jobs() == []
        case Home.FULL:
            _make_jobs(daemon, model)
        case Home.AWAY:
            daemon.kill()


def _make_jobs(daemon: RunningDaemon, model: Path) -> None:
    for name in ("damaged", "completed", "spare"):
        daemon.submit(program(name))
        daemon.wait(name, State.COMPLETED)
    daemon.stop()
    (daemon.folder("damaged") / "events.jsonl").write_text("no event\n")
    daemon.start()
    daemon.submit(program("interrupted", "kill -TERM $$", restart=RestartPolicy.NEVER))
    daemon.wait("interrupted", State.INTERRUPTED)
    prompts = ["a red disc --w 64 --h 64 --d 1 --s 2", "a green cross --w 64 --h 64 --d 2 --s 2"]
    daemon.submit(context("trained", model, epochs=2, sample_every_epochs=1, sample_prompts=prompts))
    daemon.wait("trained", State.COMPLETED)
    daemon.submit(program("failed", "echo CUDA out of memory; exit 3"))
    daemon.wait("failed", State.FAILED)
    daemon.submit(program("stopped", ENDLESS))
    until(lambda: "line 3" in daemon.training_log("stopped"), what="a log")
    daemon.call(m.STOP, m.StopParameters(name="stopped"))
    daemon.wait("stopped", State.STOPPED)
    daemon.submit(program("running", ENDLESS))
    daemon.wait("running", State.RUNNING)
    daemon.submit(program("waiting", after=["running"]))
    daemon.submit(program("held", held=True))
    for name in ("completed", "failed", "running"):
        daemon.call(
            m.ANNOTATE, m.AnnotateParameters(name=name, group="animals", tags=["cat", "small"], note="a note")
        )
