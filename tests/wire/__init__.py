# SPDX-License-Identifier: Apache-2.0
"""The wire under attack: a real daemon, hostile clients in processes of their own, and a client that behaves."""
