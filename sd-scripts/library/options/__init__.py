# SPDX-License-Identifier: Apache-2.0
"""What the command line asks for, and the plan that follows from it."""
