# SPDX-License-Identifier: Apache-2.0
"""What happens to a job by itself: it is scheduled, started, watched, stopped and ended."""
