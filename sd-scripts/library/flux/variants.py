# SPDX-License-Identifier: Apache-2.0
"""Which variant of FLUX.1 a file is, and advice for training on it. Pure.

schnell has no guidance embedding, which its keys show. dev, Krea and dev2pro have the same keys and shapes: only the
file's name tells them apart, so the name decides nothing but the advice.
"""

from __future__ import annotations

from dataclasses import dataclass

from library.options.options import Options

# Parts of the names of models that were made from schnell by training its distillation away.
DEDISTILLED = ("openflux", "dedistill", "de-distill", "libreflux")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A base model. `distilled`: to few steps, which training a LoRA on it undoes."""

    name: str
    distilled: bool = False


def identify(file_name: str, *, guided: bool) -> Variant:
    """The variant of a file. `guided`: whether it has a guidance embedding."""
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
    """The warnings for training on this variant, one sentence each."""
    found = []
    if variant.distilled:
        found.append(
            f"{options.pretrained_model_name_or_path} is FLUX.1 schnell, which is distilled to few steps; "
            "training a LoRA degrades that, so train on dev, or on a de-distilled schnell such as OpenFLUX.1"
        )
    if variant.name == "FLUX.1 dev2pro" and options.guidance_scale != 1.0:
        found.append(
            f"dev2pro was made for training with --guidance_scale 1, but this run uses {options.guidance_scale:g}"
        )
    if options.min_snr_gamma is not None:
        found.append("--min_snr_gamma has no effect on Flux, as in sd-scripts: flow matching has no such weights")
    return found
