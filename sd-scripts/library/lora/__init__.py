# SPDX-License-Identifier: Apache-2.0
"""LoRAs: their layers, the names and layouts of their files, and conversions between layouts."""
