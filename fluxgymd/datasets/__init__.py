# SPDX-License-Identifier: Apache-2.0
"""The pictures of a job: checked and copied into its home at the submit."""
