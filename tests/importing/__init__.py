# SPDX-License-Identifier: Apache-2.0
"""Trainings of an older FluxGym are read as jobs."""
