# SPDX-License-Identifier: Apache-2.0
"""The files of a home are classified by their paths."""

import pytest

from fluxgymd.core.disk.disk_use import kind_of


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("outputs/cat/cat-000004-state/optimizer.bin", "states"),
        ("outputs/cat/cat-state/train_state.json", "states"),
        ("outputs/cat/cat-step00000010-state.old.broken-1/model.safetensors", "states"),
        ("outputs/cat/cat-state.tmp/model.safetensors", "states"),
        ("outputs/cat/cat-000004.safetensors", "loras"),
        ("outputs/cat/sample/cat_e000004_00.png", "samples"),
        ("outputs/cat/dataset/1.png", "pictures"),
        ("outputs/cat/dataset/1/2.txt", "pictures"),
        ("outputs/cat/dataset/1_0512x0512_flux.npz", "caches"),
        ("outputs/cat/dataset/2/1_flux_te.npz.tmp", "caches"),
        ("outputs/cat/training.log", "logs"),
        ("outputs/cat/events.jsonl", "logs"),
        ("outputs/cat/attempts/001/result.json", "logs"),
        ("outputs/cat/attempts/001/evidence/stacks.txt", "evidence"),
        ("outputs/cat/dataset.toml", "other"),
        ("outputs/.trash-0123/cat-state/optimizer.bin", "trash"),
        ("outputs/.trash/cat@1/training.log", "trash"),
        ("datasets/.trash/cats@1/1.png", "trash"),
        ("datasets/cats/1.png", "pictures"),
        ("datasets/.pictures/ab/abcd.png", "pictures"),
        ("cache/torchinductor/x", "caches"),
        ("models/unet/flux1-dev.sft", "models"),
        ("owner.json", "other"),
        ("outputs/README.md", "other"),
    ],
)
def test_the_path_gives_the_kind_of_a_file(path: str, kind: str) -> None:
    assert kind_of(path.split("/")) == kind
