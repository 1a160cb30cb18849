# SPDX-License-Identifier: Apache-2.0
"""The watchdog of a job: what it sees, the files that it leaves, and what it does (core/watchdog decides)."""
