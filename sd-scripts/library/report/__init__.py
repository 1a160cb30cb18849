# SPDX-License-Identifier: Apache-2.0
"""What a training reports while it runs: lines, the progress bar, speed, TensorBoard events."""
