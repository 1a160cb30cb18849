# SPDX-License-Identifier: Apache-2.0
"""Tests of fluxgymd/importing, which reads the trainings of an older FluxGym as jobs."""
