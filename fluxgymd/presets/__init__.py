# SPDX-License-Identifier: Apache-2.0
"""Presets: settings under a name, for any job. Those that come with FluxGym are the TOML files of this folder."""
