# SPDX-License-Identifier: Apache-2.0
"""What versions of FluxGym left behind and said, kept for ever: later versions must read it (promises 1, 8, 9)."""
