# SPDX-License-Identifier: Apache-2.0
"""The work of the daemon: the book of jobs, and the tasks that start, watch and stop their attempts."""
