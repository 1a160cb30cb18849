# SPDX-License-Identifier: Apache-2.0
"""The limits of a job when neither the configuration nor the job sets any."""

from fluxgym import watchdog
from fluxgymd.core.watchdog import settings
from fluxgymd.core.watchdog.limits import Limits

DEFAULTS = {name: limit.default for name, limit in watchdog.LIMITS.items()}
USUAL: Limits = settings.limits(DEFAULTS, None)
