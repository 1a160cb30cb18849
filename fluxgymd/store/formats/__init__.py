# SPDX-License-Identifier: Apache-2.0
"""File formats that the daemon reads."""
