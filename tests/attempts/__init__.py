# SPDX-License-Identifier: Apache-2.0
"""Attempts: the shim, the adapters behind their port, and the bus, each tested against the real thing."""
