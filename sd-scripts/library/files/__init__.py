# SPDX-License-Identifier: Apache-2.0
"""Files with tensors: their headers, their contents, and what they turn out to be."""
