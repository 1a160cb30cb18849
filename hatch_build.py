# SPDX-License-Identifier: Apache-2.0
"""The build hook for hatchling: every sdist, wheel and editable installation gets an up-to-date page. It requires
Node only if the page is stale, so an sdist, which carries the built page, needs neither Node nor npm."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent))  # the backend imports this file by its path

from build_page import Page

SKIP = "FLUXGYM_NO_UI"
"""If this variable is set, the page is not built, for machines that cannot reach npm's registry; an existing page is
still packaged."""


class PageHook(BuildHookInterface):  # type: ignore[type-arg]  # hatchling's own parameter is of no use here
    """Builds the page before anything is packaged."""

    def dependencies(self) -> list[str]:
        page = Page(Path(self.root))
        return [] if os.environ.get(SKIP) or page.is_fresh() else [page.node_requirement()]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's names
        page = Page(Path(self.root))
        if not os.environ.get(SKIP) and not page.is_fresh():
            page.build()
