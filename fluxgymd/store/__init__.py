# SPDX-License-Identifier: Apache-2.0
"""The jobs on the disk. A job's home is the database; there is no second store to disagree with it."""
