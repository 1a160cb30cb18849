# SPDX-License-Identifier: Apache-2.0
"""Data of programs and versions that are gone, as they left it."""
