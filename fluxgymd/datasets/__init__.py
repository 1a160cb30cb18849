# SPDX-License-Identifier: Apache-2.0
"""The stored datasets, and the plain folders beside them that are not stored yet."""
