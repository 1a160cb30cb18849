# SPDX-License-Identifier: Apache-2.0
"""What happens to a job without a client's call: it is scheduled, started, watched, stopped and ended."""
