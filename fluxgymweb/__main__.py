# SPDX-License-Identifier: Apache-2.0
"""`python -m fluxgymweb`."""

import fluxgym.safe_path  # noqa: F401 - before every other import
from fluxgymweb.main import main

if __name__ == "__main__":
    main()
