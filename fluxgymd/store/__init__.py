# SPDX-License-Identifier: Apache-2.0
"""The jobs on the disk. A job's folder is the database; there is no second store that could disagree with it."""
