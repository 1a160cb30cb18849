# SPDX-License-Identifier: Apache-2.0
"""Tests of the daemon's edges in parts: parameters, the log's stream, sockets, notifications, linger."""
