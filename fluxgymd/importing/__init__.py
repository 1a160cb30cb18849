# SPDX-License-Identifier: Apache-2.0
"""Trainings that the older FluxGym, or its hardened fork, left under outputs/: read as jobs, and never written to.

What is read of one folder is two events, Submitted and Imported, as they would stand in its journal; it gets that
journal only when the user resumes or edits it (engine/takeover.py, docs/decisions/import-of-older-trainings.md).
"""
