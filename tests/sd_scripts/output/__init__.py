# SPDX-License-Identifier: Apache-2.0
"""Tests of LoRAs' metadata and of states."""
