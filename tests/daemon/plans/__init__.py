# SPDX-License-Identifier: Apache-2.0
"""Jobs that are drawn, planned with `submit --plan`, trained by a real daemon, and compared with their plans."""
