# SPDX-License-Identifier: Apache-2.0
"""The folder of a daemon."""

from tests.daemon.conftest import folder

__all__ = ["folder"]
