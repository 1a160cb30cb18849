# SPDX-License-Identifier: Apache-2.0
"""The parts of the tiny Flux: small tensors in the layouts of the published files, made from a seed."""
