# SPDX-License-Identifier: Apache-2.0
"""What changes the weights: optimizers, learning rates, schedules, averages."""
