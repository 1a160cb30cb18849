# SPDX-License-Identifier: Apache-2.0
"""kill -9 at every failpoint in the source, and at random moments (soak.py)."""
