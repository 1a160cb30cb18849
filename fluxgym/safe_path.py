# SPDX-License-Identifier: Apache-2.0
"""Keeps the working directory off the module path under `python -m fluxgymd`, which puts it first: a user's random.py
there would be imported instead of Python's. Only for `__main__` modules, as their first import.

This module may only import what Python itself has loaded already. Imports that `runpy` makes before any code of
FluxGym runs are out of reach; `python -P -m` covers them too.
"""

import os
import sys


def _leave_out_the_working_directory() -> None:
    try:
        here = os.getcwd()
    except OSError:  # it was deleted, so nothing can be imported from it
        return
    checkout = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if not sys.flags.safe_path and sys.path[:1] in ([""], [here]) and here != checkout:
        del sys.path[0]


_leave_out_the_working_directory()
