# SPDX-License-Identifier: Apache-2.0
"""All simulated traces."""

from tests.traces import healthy, healthy_signs, stuck, stuck_signs
from tests.traces.trace import Catalogue

HEALTHY = Catalogue(traces=[*healthy.HEALTHY.traces, *healthy_signs.SIGNS.traces])
STUCK = Catalogue(traces=[*stuck.STUCK.traces, *stuck_signs.SIGNS.traces])
