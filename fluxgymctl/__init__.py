# SPDX-License-Identifier: Apache-2.0
"""The command line, a thin client without state: it shows what the daemon has just answered."""
