# SPDX-License-Identifier: Apache-2.0
"""`python -m fluxgymd`."""

import fluxgym.safe_path  # noqa: F401 - before every other import
from fluxgymd.main import main

if __name__ == "__main__":
    main()
