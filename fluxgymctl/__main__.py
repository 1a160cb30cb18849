# SPDX-License-Identifier: Apache-2.0
"""`python -m fluxgymctl` runs the same program as `fluxgymctl`."""

import fluxgym.safe_path  # noqa: F401, I001 - before every other import
import sys

from fluxgymctl.main import main

sys.exit(main())
