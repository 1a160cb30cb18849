# SPDX-License-Identifier: Apache-2.0
"""The pictures of a job, which are checked and copied into its home when it is submitted."""
