# SPDX-License-Identifier: Apache-2.0
"""What goes over the socket: messages, methods, framing, and the clients."""
