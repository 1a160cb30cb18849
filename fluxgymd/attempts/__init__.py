# SPDX-License-Identifier: Apache-2.0
"""Running attempts: a port, its two adapters, and the shim that they share."""
