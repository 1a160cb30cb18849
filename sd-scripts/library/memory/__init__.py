# SPDX-License-Identifier: Apache-2.0
"""What a training needs, and the fastest way of computing it that fits this machine."""
