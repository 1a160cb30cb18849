# SPDX-License-Identifier: Apache-2.0
"""The trainer's tests that need a GPU. They run only when named (docs/gpu-checks.md), and fail without a GPU."""
