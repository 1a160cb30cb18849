# SPDX-License-Identifier: Apache-2.0
"""The events of a job, and what they say."""
