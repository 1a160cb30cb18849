# SPDX-License-Identifier: Apache-2.0
"""The disk space that a training will need, before anything is started.

Our trainer says how large its files are and how many it saves. For another one, the base model's shapes and the
settings are used.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from fluxgym.protocol.messages import Context, Model
from fluxgymd.store.formats import safetensors_header
from fluxgymd.store.formats.safetensors_header import Tensor
from fluxgymd.trainers.kohya import kept_states

# The modules that sd-scripts' networks.lora_flux adapts, by their tensors' names in the model files.
FLUX_LINEAR = re.compile(r"(?:model\.diffusion_model\.)?(?:double|single)_blocks\.\d+\..*\.weight")
CLIP_LINEAR = re.compile(r"(?:text_model\.)?encoder\.layers\.\d+\.(?:self_attn\.\w+_proj|mlp\.fc\d)\.weight")

STATES_BESIDE = 3
"""States in addition to those that are kept: the final one, that of a stop between epochs, and one being written."""


def planned_bytes(context: Context) -> int:
    """Bytes of all states and LoRA files of a training. OSError or NotSafetensors if a model cannot be read."""
    model = context.model or Model()
    options = context.trainer_options or {}
    rank = context.network_dim or 0
    parameters = adapted(safetensors_header.read(Path(str(model.transformer))).tensors, FLUX_LINEAR, rank)
    if "network_train_unet_only" not in options:
        parameters += adapted(safetensors_header.read(Path(str(model.clip_l))).tensors, CLIP_LINEAR, rank)
    state = parameters * 4 * 3  # fp32 weights and AdamW's two moments
    return all_saves(context, state=state, lora=parameters * (4 if options.get("save_precision") == ["float"] else 2))


def all_saves(context: Context, *, state: int, lora: int, states: int | None = None, loras: int | None = None) -> int:
    """Bytes of all states and LoRA files of a training, from the size of one state and of one LoRA. `states`: the
    number that its trainer saves; `loras`: the most at one time. If None, the settings are used."""
    saves = (context.epochs or 1) // (context.save_every_epochs or 1) + 1
    kept = min(kept_states(context), saves if states is None else states)
    return state * (kept + STATES_BESIDE) + lora * (saves if loras is None else loras)


def adapted(header: Mapping[str, Tensor], linear: re.Pattern[str], rank: int) -> int:
    """Parameters of the LoRA: rank * (in + out), summed over the linear layers that are adapted."""
    shapes = (tensor.shape for name, tensor in header.items() if linear.fullmatch(name))
    return sum(rank * (shape[0] + shape[1]) for shape in shapes if len(shape) == 2)
