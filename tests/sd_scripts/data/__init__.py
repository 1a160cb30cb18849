# SPDX-License-Identifier: Apache-2.0
"""Tests of datasets, pictures, captions and prompts."""
