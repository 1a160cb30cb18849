# SPDX-License-Identifier: Apache-2.0
"""The parts that FluxGym's programs share: the interface, its messages, the client, the configuration and the paths.

This package imports nothing from fluxgymd and fluxgymctl, and nothing heavy: each call of the command line loads it.
"""

__version__ = "0.1.0"
