# SPDX-License-Identifier: Apache-2.0
"""The wire under attack: a real daemon, hostile clients that are programs of their own, and one that behaves."""
