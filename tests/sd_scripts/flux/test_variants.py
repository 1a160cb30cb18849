# SPDX-License-Identifier: Apache-2.0
"""Base models are identified by keys and names, and advice is given once, before anything is loaded."""

from __future__ import annotations

import pytest

from library.flux import variants
from tests.sd_scripts.command_line import options


@pytest.mark.parametrize(
    ("file_name", "guided", "name", "words", "warnings"),
    [
        ("flux1-dev.safetensors", True, "FLUX.1 dev", "", 0),
        ("flux1-dev-fp8.safetensors", True, "FLUX.1 dev", "--guidance_scale 1", 0),
        ("flux1-krea-dev.safetensors", True, "FLUX.1 Krea dev", "", 0),
        ("flux1-Dev2Pro.safetensors", True, "FLUX.1 dev2pro", "", 1),
        ("flux1-dev2pro.safetensors", True, "FLUX.1 dev2pro", "--guidance_scale 1", 0),
        ("flux1-schnell.safetensors", False, "FLUX.1 schnell", "", 1),
        ("anything.safetensors", False, "FLUX.1 schnell", "", 1),
        ("OpenFLUX.1.safetensors", False, "a de-distilled FLUX.1 schnell", "", 0),
        ("flux1-dev.safetensors", True, "FLUX.1 dev", "--min_snr_gamma 5", 1),
    ],
)
def test_the_base_model_is_recognized(file_name: str, guided: bool, name: str, words: str, warnings: int) -> None:
    variant = variants.identify(file_name, guided=guided)
    assert variant.name == name
    assert len(variants.advice(variant, options(*words.split()))) == warnings
