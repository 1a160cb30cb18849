# SPDX-License-Identifier: Apache-2.0
"""The jobs in memory, as their journals describe them, and what clients see of them."""
