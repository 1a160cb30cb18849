# SPDX-License-Identifier: Apache-2.0
"""The real daemon with kohya-ss/sd-scripts itself, which is not part of the project: asked for by its variables."""
