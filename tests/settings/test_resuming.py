# SPDX-License-Identifier: Apache-2.0
"""Tests of a dozen draws of all kinds, interrupted in different ways. `./dev soak settings` plays any number."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluxgym.protocol.messages import RestartPolicy
from tests.daemon.running import RunningDaemon
from tests.settings.draw import BASE, Draw
from tests.settings.interruptions import WAYS
from tests.settings.playing import play
from tests.settings.values import OFF, PROMPTS, UNCACHED, Options

SHORT = {"epochs": 2, "repeats": 2, "save_every_epochs": 1, "learning_rate": 2e-3}


def dozen(way: str, moment: float, options: Options, **fields: object) -> Draw:
    return Draw(fields=SHORT | fields, options=BASE | options, way=way, moment=moment)


DOZEN = {
    "an 8-bit optimizer that another stands in for": dozen("stop", 0.4, {"optimizer_type": ["AdamW8bit"]}),
    "an adaptive optimizer": dozen(
        "kill -9 trainer", 0.8, {"optimizer_type": ["Prodigy"], "network_dropout": ["0.2"]}, learning_rate=1.0
    ),
    "a validation": dozen(
        "SIGTERM", 0.5, {"validation_split": ["0.25"], "validate_every_n_steps": ["4"]}, network_dim=1
    ),
    "accumulated steps with warm restarts of the rate": dozen(
        "SIGINT",
        0.3,
        {
            "lr_scheduler": ["cosine_with_restarts"],
            "lr_scheduler_num_cycles": ["2"],
            "lr_warmup_steps": ["10%"],
            "gradient_accumulation_steps": ["3"],
        },
        epochs=4,
    ),
    "an optimizer that finds the rate": dozen(
        "kill -9 shim and trainer", 0.7, {"optimizer_type": ["Adafactor"], "scale_weight_norms": ["0.05"]}
    ),
    "two averages of the weights": dozen(
        "kill -9 daemon", 0.5, {"optimizer_type": ["AdamWScheduleFree"], "ema_decay": ["0.9"]}
    ),
    "CLIP with a rate of its own": dozen(
        "stop",
        0.6,
        {
            "network_train_unet_only": OFF,
            "text_encoder_lr": ["5e-4"],
            "network_args": ["loraplus_lr_ratio=4", "rank_dropout=0.1"],
        },
        trigger_word='a "quoted" c4t, \\ with é',
    ),
    "captions that change and batches of several sizes": dozen(
        "kill -9 daemon and trainer",
        0.75,
        {
            **UNCACHED,
            "shuffle_caption": [],
            "caption_tag_dropout_rate": ["0.4"],
            "token_warmup_step": ["0.5"],
            "min_bucket_reso": ["32"],
            "train_batch_size": ["2"],
        },
        resolution=96,
    ),
    "samples and one kept state": dozen(
        "kill -9 trainer",
        0.7,
        {"sample_at_first": [], "save_every_n_steps": ["3"]},
        sample_prompts=PROMPTS,
        sample_every_steps=5,
        keep_states=1,
        restart=RestartPolicy.ON_FAILURE,
    ),
    "a schedule of torch's": dozen(
        "kill -9 shim",
        0.5,
        {
            "optimizer_type": ["Muon"],
            "lr_scheduler_type": ["OneCycleLR"],
            "lr_scheduler_args": ["max_lr=2e-3", "total_steps=100", "cycle_momentum=False"],
        },
    ),
    "an 8-bit base whose blocks take turns": dozen(
        "SIGTERM",
        0.2,
        {"mixed_precision": ["bf16"], "fp8_base": [], "blocks_to_swap": ["2"], "gradient_checkpointing": []},
        restart=RestartPolicy.NEVER,
    ),
    "ranks by layer and a masked loss": dozen(
        "stop",
        0.0,
        {
            "network_args": ["network_reg_dims=img_attn=3,single_blocks_0=2", "in_dims=[2,0,0,0,2]"],
            "alpha_mask": [],
            "flip_aug": [],
            "loss_type": ["huber"],
            "huber_schedule": ["exponential"],
        },
        save_every_epochs=2,
    ),
}


@pytest.mark.parametrize("name", DOZEN)
def test_promise_5_settings_of_all_kinds_are_resumed_to_the_same_bits(
    name: str, daemon: RunningDaemon, model: Path
) -> None:
    assert play(daemon, model, DOZEN[name]) == []


def test_the_dozen_is_interrupted_in_every_way() -> None:
    assert len(DOZEN) == 12
    assert {each.way for each in DOZEN.values()} == set(WAYS)
