# SPDX-License-Identifier: Apache-2.0
"""The verbs about what a job has written: its log, its history, its files. Organized like verbs/."""
