# SPDX-License-Identifier: Apache-2.0
"""kill -9 everywhere: at each failpoint of the source, and at random (soak.py)."""
