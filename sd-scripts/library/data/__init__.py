# SPDX-License-Identifier: Apache-2.0
"""What a training learns from: pictures, their captions and sizes, prompts, and dataset.toml. No models."""
