# SPDX-License-Identifier: Apache-2.0
"""A training that takes a few seconds, laid out as by a user: pictures, a tiny Flux, and a spec file beside them."""

import os
import subprocess
from pathlib import Path

from tests.daemon.running import ROOT, TRAINER_PYTHON
from tests.harness.waiting import DEADLINE_SECONDS

STEPS_OF_AN_EPOCH = 12
EPOCHS = 3

SPEC = f"""\
dataset = "./pictures"
resolution = 128
repeats = 1
epochs = {EPOCHS}
save_every_epochs = 1
learning_rate = 0.002

[model]
transformer = "models/flux1-dev.safetensors"
clip_l = "models/clip_l.safetensors"
t5xxl = "models/t5xxl_fp16.safetensors"
autoencoder = "models/ae.safetensors"
tokenizers = "models/tokenizers"

[trainer_options]
network_train_unet_only = true
gradient_checkpointing = false
mixed_precision = "no"
t5xxl_max_token_length = 256
"""


def make_material(folder: Path) -> Path:
    """Makes the material in an empty folder; returns the path of the spec file."""
    for script, out in (("sd-scripts/make_tiny_flux.py", "models"), ("demo/make_pictures.py", "pictures")):
        subprocess.run(
            [TRAINER_PYTHON, ROOT / script, folder / out],
            check=True,
            stdout=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"},
            timeout=DEADLINE_SECONDS,
        )
    assert len(list((folder / "pictures").glob("*.png"))) == STEPS_OF_AN_EPOCH
    spec = folder / "tiny.toml"
    spec.write_text(SPEC, encoding="utf-8")
    return spec
