# SPDX-License-Identifier: Apache-2.0
"""Homes and answers of earlier versions of FluxGym. Every later version must read them (promises 1, 8, 9)."""
