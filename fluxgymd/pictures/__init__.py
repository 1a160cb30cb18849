# SPDX-License-Identifier: Apache-2.0
"""Brings pictures and captions from folders and ZIP archives into the store of pictures, in a program of its own."""
