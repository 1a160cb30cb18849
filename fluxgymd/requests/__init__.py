# SPDX-License-Identifier: Apache-2.0
"""What clients ask for: each verb checks, decides, and records an event before it acts."""
