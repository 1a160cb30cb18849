# SPDX-License-Identifier: Apache-2.0
"""The real daemon with the real trainer, from submit to result."""
