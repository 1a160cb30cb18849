# SPDX-License-Identifier: Apache-2.0
"""What root must give up in a test of what other users are refused."""

import os

WITHOUT_ROOTS_RIGHTS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
"""Words to put before a command, so that root, too, is refused what other users are refused."""
