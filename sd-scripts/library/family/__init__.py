# SPDX-License-Identifier: Apache-2.0
"""What a family of models has to give, whichever it is. `port.py` is the list of it."""
