# SPDX-License-Identifier: Apache-2.0
"""Which FLUX.1 a file is, and what somebody who trains on it should know. Pure.

schnell has no guidance embedding, and that is seen in the keys. dev, Krea and dev2pro have the same keys and shapes:
only the file's name tells them apart, so it decides nothing but advice.
"""

from __future__ import annotations

from dataclasses import dataclass

from library.options import Options

# Names of schnell's children that were trained away from its distillation.
DEDISTILLED = ("openflux", "dedistill", "de-distill", "libreflux")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A base model. `distilled`: in few steps, which a LoRA unlearns."""

    name: str
    distilled: bool = False


def identify(file_name: str, *, guided: bool) -> Variant:
    """`guided`: whether the file has a guidance embedding."""
    name = file_name.lower()
    if not guided:
        if any(word in name for word in DEDISTILLED):
            return Variant(name="a de-distilled FLUX.1 schnell")
        return Variant(name="FLUX.1 schnell", distilled=True)
    if "krea" in name:
        return Variant(name="FLUX.1 Krea dev")
    if "dev2pro" in name:
        return Variant(name="FLUX.1 dev2pro")
    return Variant(name="FLUX.1 dev")


def advice(variant: Variant, options: Options) -> list[str]:
    """What is worth a warning, a sentence each."""
    found = []
    if variant.distilled:
        found.append(
            f"{options.pretrained_model_name_or_path} is FLUX.1 schnell, which is distilled to few steps: a LoRA "
            "trained on it degrades it; train on dev, or on a de-distilled schnell such as OpenFLUX.1"
        )
    if variant.name == "FLUX.1 dev2pro" and options.guidance_scale != 1.0:
        found.append(
            f"dev2pro was made to be trained with --guidance_scale 1, and {options.guidance_scale:g} is asked for"
        )
    if options.min_snr_gamma is not None:
        found.append("--min_snr_gamma does nothing for Flux, as in sd-scripts: a flow has no such weights")
    return found
