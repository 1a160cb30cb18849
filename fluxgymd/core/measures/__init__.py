# SPDX-License-Identifier: Apache-2.0
"""What is computed from the numbers and lines that a trainer reports."""
