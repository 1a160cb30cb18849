# SPDX-License-Identifier: Apache-2.0
"""Photographs every screen in every state and look: `python -m tests.web.browser.shots DIR`."""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.daemon.running import RunningDaemon, make_model
from tests.web.browser.browsing import launch, visiting
from tests.web.browser.screens import walk
from tests.web.serving import RunningWeb


def shoot(target: Path) -> int:
    """Writes a PNG for each screen; returns how many."""
    target.mkdir(parents=True, exist_ok=True)
    count = 0
    with (
        tempfile.TemporaryDirectory(prefix="fg-") as folder,
        RunningDaemon(Path(folder), arguments=("--supervisor", "process")) as daemon,
        RunningWeb(Path(folder), daemon.socket) as web,
        sync_playwright() as playwright,
        launch(playwright, Path(folder)) as browser,
        visiting(browser, web) as visit,
    ):
        visit.may_miss_answers = True
        make_model(Path(folder) / "model")
        for name, page in walk(daemon, visit, Path(folder) / "model"):
            page.screenshot(path=target / f"{name}.png", full_page=True)
            count += 1
    return count


def main() -> None:
    target = Path(sys.argv[1])
    print(f"{shoot(target)} screenshots in {target}")


if __name__ == "__main__":
    main()
