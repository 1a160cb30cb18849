# SPDX-License-Identifier: Apache-2.0
"""Tests of LoRAs, their layouts and conversions."""
