# SPDX-License-Identifier: Apache-2.0
"""`python -m fluxgymctl`: the same as the program `fluxgymctl`."""

import sys

from fluxgymctl.main import main

sys.exit(main())
