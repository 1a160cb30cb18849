# SPDX-License-Identifier: Apache-2.0
"""What is saved of a hang, under attempts/NNN/evidence/."""

EVIDENCE = "evidence"
"""The folder, below that of the attempt."""
