# SPDX-License-Identifier: Apache-2.0
"""The verbs of `fluxgymctl dataset`, one file each. Every file has a `command`."""
