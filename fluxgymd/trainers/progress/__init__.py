# SPDX-License-Identifier: Apache-2.0
"""How far an attempt is: what its trainer records or prints."""
