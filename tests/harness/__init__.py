# SPDX-License-Identifier: Apache-2.0
"""The test bench: a real user manager and a complete booted machine, started and taken down by a test.

Everything that it starts is in a `Namespace`. When the namespace is closed, or when pytest itself dies, the kernel
ends all processes in it and drops its mounts. The bench uses only the standard library, so each environment of the
project can run it.
"""
