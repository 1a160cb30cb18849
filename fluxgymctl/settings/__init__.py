# SPDX-License-Identifier: Apache-2.0
"""What a user asks for: the fields of a job, as flags and as keys of a spec file."""
