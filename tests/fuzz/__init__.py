# SPDX-License-Identifier: Apache-2.0
"""Input for the daemon that nobody would write by hand: random messages and damaged files (`./dev soak`)."""
