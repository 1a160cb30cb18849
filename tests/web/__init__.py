# SPDX-License-Identifier: Apache-2.0
"""Tests of fluxgymweb: a real server process in front of a real daemon, over HTTP."""
