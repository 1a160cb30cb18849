# SPDX-License-Identifier: Apache-2.0
"""Files that older programs and versions of FluxGym wrote, unchanged."""
