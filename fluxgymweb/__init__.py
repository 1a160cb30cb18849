# SPDX-License-Identifier: Apache-2.0
"""The web server: fluxgymd's methods over HTTP, for the page in a browser. It keeps no state of its own, so it can be
stopped, killed and upgraded at any time; open pages reconnect when it is back."""
