# SPDX-License-Identifier: Apache-2.0
"""The thin client. It holds no state: what it shows was asked from the daemon a moment before."""
