# SPDX-License-Identifier: Apache-2.0
"""A home of the older FluxGym (`original`) and one of its hardened fork (`fork`), written by make.py."""
