# SPDX-License-Identifier: Apache-2.0
"""Trainings that the older FluxGym, or its hardened fork, left under outputs/. They are read as jobs, but nothing is
written to their folders.

A folder is read as two events, Submitted and Imported, as they would be in its journal. It gets that journal only
when the user resumes or edits the job (requests/takeover.py, docs/decisions/0034-import-of-older-trainings.md).
"""
