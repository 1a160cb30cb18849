# SPDX-License-Identifier: Apache-2.0
"""Settings in the forms of other programs: jobs written for them, and their files read as settings of a job."""
