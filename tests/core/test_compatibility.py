# SPDX-License-Identifier: Apache-2.0
"""What keeps a checkpoint from being used is told, one clause for each difference; what is not known is no reason."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from fluxgym.messages import Context
from fluxgymd.core.compatibility import Asked, Made, asked, differences, linears, optimizer_form
from tests.core.histories import CONTEXT

DOUBLE = {"lora_unet_double_blocks_0_img_attn_qkv": (8, 24)}
SINGLE = {"lora_unet_single_blocks_0_linear1": (8, 56)}
CLIP = {"lora_te1_text_model_encoder_layers_0_mlp_fc1": (6, 12)}
ALL = DOUBLE | SINGLE | CLIP

MADE = Made(
    step=40,
    steps_per_epoch=10,
    modules=ALL,
    ranks=frozenset({4}),
    alphas=frozenset({1.0}),
    optimizer="AdamW",
)


def ask(options: dict[str, list[str]] | None = None, **changes: Any) -> Asked:
    """What the settings of a job ask for, on a dataset of 10 steps an epoch and the models that MADE was made for."""
    known = {name: changes.pop(name, default) for name, default in (("steps_per_epoch", 10), ("models", ALL))}
    context: Context = msgspec.structs.replace(CONTEXT, trainer_options=options or {}, **changes)
    return asked(context, **known)


def test_a_state_fits_the_settings_that_it_was_made_with() -> None:
    assert differences(MADE, ask()) == []


CLAUSES: list[tuple[Made, Asked, str]] = [
    (MADE, ask(network_dim=8), "its rank is 4, and 8 is asked for (network_dim)"),
    (
        replace(MADE, ranks=frozenset({4, 2})),
        ask(),
        "its rank is 2, 4, and 4 is asked for (network_dim)",
    ),
    (MADE, ask({"network_alpha": ["4"]}), "its alpha is 1, and 4 is asked for (network_alpha)"),
    # sd-scripts takes an alpha of 0 for the rank.
    (MADE, ask({"network_alpha": ["0"]}), "its alpha is 1, and 4 is asked for (network_alpha)"),
    (
        MADE,
        ask({"optimizer_type": ["Adafactor"]}),
        "its optimizer is AdamW, and Adafactor is asked for (optimizer_type)",
    ),
    (
        MADE,
        ask({"use_8bit_adam": []}),
        "its optimizer is AdamW, and an 8-bit Adam is asked for (optimizer_type)",
    ),
    (
        replace(MADE, optimizer="Prodigy"),
        ask(),
        "its optimizer is Prodigy, and AdamW is asked for (optimizer_type)",
    ),
    (
        MADE,
        ask({"network_args": ["train_blocks=single"]}),
        "its blocks are all, and single are asked for (network_args train_blocks)",
    ),
    (
        replace(MADE, modules=DOUBLE | CLIP),
        ask(),
        "its blocks are double, and all are asked for (network_args train_blocks)",
    ),
    (
        MADE,
        ask({"network_train_unet_only": []}),
        "CLIP-L was trained, and is not to be (network_train_unet_only)",
    ),
    (
        replace(MADE, modules=DOUBLE | SINGLE),
        ask(),
        "CLIP-L was not trained, and is to be (network_train_unet_only)",
    ),
    (
        MADE,
        ask(steps_per_epoch=12),
        "an epoch of its dataset had 10 steps, and has 12 now (dataset, repeats, gradient_accumulation_steps)",
    ),
    (MADE, ask(epochs=3), "it is at step 40, and only 30 are asked for (epochs)"),
    (
        MADE,
        ask(models=ALL | {"lora_unet_double_blocks_0_img_attn_qkv": (16, 48)}),
        (
            "it was made for another model: lora_unet_double_blocks_0_img_attn_qkv has another size now "
            "(model.transformer)"
        ),
    ),
    (
        MADE,
        ask(models=DOUBLE | CLIP),
        "it was made for another model: there is no lora_unet_single_blocks_0_linear1 now (model.transformer)",
    ),
    (
        MADE,
        ask(models=ALL | {"lora_te1_text_model_encoder_layers_0_mlp_fc1": (12, 24)}),
        (
            "it was made for another model: lora_te1_text_model_encoder_layers_0_mlp_fc1 has another size now "
            "(model.clip_l)"
        ),
    ),
]


@pytest.mark.parametrize(("made", "wanted", "clause"), CLAUSES, ids=[clause[:40] for _, _, clause in CLAUSES])
def test_promise_5_a_changed_setting_is_explained(made: Made, wanted: Asked, clause: str) -> None:
    assert differences(made, wanted) == [clause]


def test_every_difference_is_told() -> None:
    found = differences(MADE, ask({"optimizer_type": ["lion"], "network_alpha": ["2"]}, network_dim=2))
    assert [clause.partition(" is ")[0] for clause in found] == ["its rank", "its alpha", "its optimizer"]


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        # What changes the run but not what the state means.
        (MADE, ask(learning_rate=1e-4, seed=7, save_every_epochs=1, epochs=4)),
        (MADE, ask(epochs=400, resolution=1024)),
        # Another optimizer with the same form of state, and ones that are not known here.
        (MADE, ask({"optimizer_type": ["Adam"]})),
        (MADE, ask({"optimizer_type": ["came.CAME"]})),
        (replace(MADE, optimizer=None), ask({"optimizer_type": ["lion"]})),
        # Ranks and blocks by part: more than the state can be compared with.
        (replace(MADE, ranks=frozenset({4, 8})), ask({"network_args": ["img_attn_dim=8"]})),
        (replace(MADE, modules=DOUBLE | CLIP), ask({"network_args": ["train_single_block_indices=none"]})),
        # Another kind of network.
        (
            replace(MADE, modules={}, ranks=frozenset(), alphas=frozenset()),
            ask({"network_module": ["lycoris.kohya"], "network_alpha": ["8"]}),
        ),
        # sd-scripts' counter says nothing, and its state nothing of the dataset.
        (replace(MADE, step=None, steps_per_epoch=None), ask(epochs=1, steps_per_epoch=12)),
        (MADE, ask(steps_per_epoch=None)),
        (MADE, ask(models=None)),
        (replace(MADE, modules=ALL | {"lora_te3_encoder_block_0_layer_0_SelfAttention_q": (4, 4)}), ask()),
    ],
)
def test_what_is_not_known_or_does_no_harm_is_no_reason(made: Made, wanted: Asked) -> None:
    assert differences(made, wanted) == []


@pytest.mark.parametrize(
    ("keys", "form"),
    [
        ({"step", "exp_avg", "exp_avg_sq", "lr", "betas", "eps", "amsgrad", "params"}, "AdamW"),
        ({"lr", "betas", "amsgrad"}, "AdamW"),  # before the first step there are no moments
        ({"exp_avg_sq_row", "RMS", "clip_threshold", "relative_step"}, "Adafactor"),
        ({"state1", "qmap1", "absmax1", "state2", "qmap2", "absmax2", "betas"}, "an 8-bit Adam"),
        ({"state1", "qmap1", "absmax1", "betas"}, "an 8-bit optimizer with one moment"),
        ({"exp_avg", "exp_avg_sq", "s", "p0", "d", "d0", "d_coef", "betas"}, "Prodigy"),
        ({"exp_avg", "betas", "weight_decay"}, "Lion"),
        ({"momentum_buffer", "nesterov", "dampening"}, "SGD"),
        ({"something", "else"}, None),
        (set(), None),
    ],
)
def test_an_optimizer_is_known_by_the_keys_of_its_state(keys: set[str], form: str | None) -> None:
    assert optimizer_form(frozenset(keys)) == form


def test_the_linears_of_the_models_files() -> None:
    """Flux as its authors and as ComfyUI name it, CLIP-L of transformers 4 and 5 (trainers.md 0, 1.2)."""
    shapes = {
        "double_blocks.0.img_attn.qkv.weight": (24, 8),
        "double_blocks.0.img_attn.qkv.bias": (24,),
        "double_blocks.0.img_attn.norm.query_norm.scale": (4,),
        "model.diffusion_model.single_blocks.0.linear1.weight": (56, 8),
        "img_in.weight": (8, 64),
        "text_model.encoder.layers.0.mlp.fc1.weight": (12, 6),
        "encoder.layers.1.self_attn.q_proj.weight": (6, 6),
        "text_model.embeddings.position_embedding.weight": (77, 6),
    }
    assert linears(shapes.items()) == ALL | {"lora_te1_text_model_encoder_layers_1_self_attn_q_proj": (6, 6)}
