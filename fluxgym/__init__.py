# SPDX-License-Identifier: Apache-2.0
"""What FluxGym's programs share: the interface, its messages, the client, and where things lie.

This package imports nothing of ours, and nothing heavy: the command line loads it at every call.
"""

__version__ = "0.1.0"
