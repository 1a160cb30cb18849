# SPDX-License-Identifier: Apache-2.0
"""Flow matching: batches, noise, the prediction's loss, and validation."""
