# SPDX-License-Identifier: Apache-2.0
"""The daemon against a modelled machine: Hypothesis searches for a sequence of mishaps that breaks a promise."""
