# SPDX-License-Identifier: Apache-2.0
"""What clients see: the Varlink server, and one file for each group of methods."""
