# SPDX-License-Identifier: Apache-2.0
"""The trainers: from a job's settings to their command line and files, and from their output to progress."""
