# SPDX-License-Identifier: Apache-2.0
"""The engine against a modelled machine: Hypothesis searches for a sequence of mishaps that breaks a promise."""
