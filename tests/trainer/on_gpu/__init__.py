# SPDX-License-Identifier: Apache-2.0
"""What only a GPU can show of the trainer: run when it is named (docs/gpu-checks.md). Without a GPU it fails."""
