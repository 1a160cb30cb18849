# SPDX-License-Identifier: Apache-2.0
"""The trainers' adapters: from a job's settings to a command line and files, and from output to progress."""
