# SPDX-License-Identifier: Apache-2.0
"""The attempts: the shim, the adapters behind their port, and the bus, each against the real thing."""
