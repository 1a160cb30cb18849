# SPDX-License-Identifier: Apache-2.0
"""What a job has written: its files, samples, measurements and log, as its user gets to see them."""
