# SPDX-License-Identifier: Apache-2.0
"""How an attempt is run: a port, its adapters, and the shim that they share."""
