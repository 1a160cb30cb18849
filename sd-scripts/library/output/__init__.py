# SPDX-License-Identifier: Apache-2.0
"""What a training writes: LoRAs with their metadata, and states from which it resumes."""
