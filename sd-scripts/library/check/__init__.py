# SPDX-License-Identifier: Apache-2.0
"""--check_job: what is wrong with a job, found without training or writing anything."""
