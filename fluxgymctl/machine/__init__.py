# SPDX-License-Identifier: Apache-2.0
"""The verbs about this machine and its daemon, and not about one job. Files as in verbs/."""
