# SPDX-License-Identifier: Apache-2.0
"""FLUX.1: its models and their files, and how they are loaded, compiled and swapped."""
