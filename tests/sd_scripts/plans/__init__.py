# SPDX-License-Identifier: Apache-2.0
"""Trains what --plan has announced, and compares: with datasets that no job of the daemon has, since all datasets of
a job have the same folders, batch size and steps between buckets."""
