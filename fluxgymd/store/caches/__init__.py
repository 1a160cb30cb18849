# SPDX-License-Identifier: Apache-2.0
"""Files that can be made again, or that jobs share."""
