# SPDX-License-Identifier: Apache-2.0
"""Tests of fluxgymweb: a real server process before a real daemon, asked over HTTP."""
