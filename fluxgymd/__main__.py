# SPDX-License-Identifier: Apache-2.0
"""`python -m fluxgymd`."""

from fluxgymd.main import main

if __name__ == "__main__":
    main()
