# SPDX-License-Identifier: Apache-2.0
"""Sample pictures and their contact sheet."""
