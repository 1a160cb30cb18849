# SPDX-License-Identifier: Apache-2.0
"""The trainer's tests, run by the trainer's environment: `.venv-trainer/bin/python -m pytest tests/sd_scripts`."""
