# SPDX-License-Identifier: Apache-2.0
"""What the daemon asks of the machine it runs on: systemd, D-Bus, logind, its socket, its own lateness."""
