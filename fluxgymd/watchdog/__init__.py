# SPDX-License-Identifier: Apache-2.0
"""The watchdog of a job: it observes, saves evidence and acts. The decisions are in core/watchdog."""
