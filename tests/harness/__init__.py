# SPDX-License-Identifier: Apache-2.0
"""The test bench: a real user manager and a whole booted machine, started and taken down by a test.

Everything it starts lies in a `Namespace`: when that ends, or when pytest itself dies, the kernel ends every process
in it and drops its mounts. Standard library only, so that each environment of the project can use it.
"""
