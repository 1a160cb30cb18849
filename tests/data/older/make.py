# SPDX-License-Identifier: Apache-2.0
"""Writes the homes `original/` and `fork/` beside this file: `python -m tests.data.older.make`.

The texts have the layout of the older program's, as its issue threads and files show it: the flag that follows a
backslash without a space, the line that ends in a backslash, the commands before the command. The states are complete
and have two parameters; torch and accelerate wrote their optimizer and random states (tests/store/files.py). A test
checks that this script writes exactly the files in this folder (tests/importing/test_homes.py).
"""

import json
import shutil
from pathlib import Path
from typing import Any

from tests.store.files import BLOCKS, CLIP, RECORDED, lora, with_header, write_state

HERE = Path(__file__).parent
ROOT = "/workspace/fluxgym"
"""The folder in which the older program was installed. The homes are elsewhere now."""
STARTED = 1_763_300_000.5
"""When each training started, in seconds since the Unix epoch."""

SINGLE = {name: size for name, size in (BLOCKS | CLIP).items() if "_double_blocks_" not in name}
"""The layers that train_blocks=single trains, with their sizes. They include those of CLIP-L."""

ADAFACTOR = """--optimizer_type adafactor \\
  --optimizer_args "relative_step=False" "scale_parameter=False" "warmup_init=False" \\
"""
SCHEDULE = """  --lr_scheduler constant_with_warmup \\
  --max_grad_norm 0.0 \\"""
TIERS = {
    "20G": "--optimizer_type adamw8bit \\",
    "16G": ADAFACTOR + SCHEDULE,
    "12G": ADAFACTOR + '  --split_mode \\\n  --network_args "train_blocks=single" \\\n' + SCHEDULE,
}
PREFIX = "#!/bin/bash\nsource /workspace/fluxgym/env/bin/activate\ncd /workspace/fluxgym/\n\n"


def train_sh(
    name: str, *, tier: str = "20G", fork: bool = False, every: int = 0, resume: str = "", advanced: str = ""
) -> str:
    """Returns train.sh as gen_sh of the older program writes it; with `fork`, with the fork's checkboxes on. `every`:
    the steps between samples."""
    folder = f"{ROOT}/outputs/{name}"
    samples = f'--sample_prompts="{folder}/sample_prompts.txt" --sample_every_n_steps="{every}" \\' if every else ""
    glued = f'--resume "{ROOT}/{resume}" \\' if resume else ""
    if fork:
        samples = "--save_state \\\n  " + (f"{samples}\n  " if samples else "")
    else:
        samples += "\n  "
    text = f"""accelerate launch \\
  --mixed_precision bf16 \\
  --num_cpu_threads_per_process 1 \\
  sd-scripts/flux_train_network.py \\
  {glued}--pretrained_model_name_or_path "{ROOT}/models/unet/flux1-dev.sft" \\
  --clip_l "{ROOT}/models/clip/clip_l.safetensors" \\
  --t5xxl "{ROOT}/models/clip/t5xxl_fp16.safetensors" \\
  --ae "{ROOT}/models/vae/ae.sft" \\
  --cache_latents_to_disk \\
  --save_model_as safetensors \\
  --sdpa --persistent_data_loader_workers \\
  --max_data_loader_n_workers 2 \\
  --seed 42 \\
  --gradient_checkpointing \\
  --mixed_precision bf16 \\
  --save_precision bf16 \\
  --network_module networks.lora_flux \\
  --network_dim 4 \\
  {TIERS[tier]}{samples}--learning_rate 8e-4 \\
  --cache_text_encoder_outputs \\
  --cache_text_encoder_outputs_to_disk \\
  --fp8_base \\
  --highvram \\
  --max_train_epochs 16 \\
  --save_every_n_epochs 4 \\
  --dataset_config "{folder}/dataset.toml" \\
  --output_dir "{folder}" \\
  --output_name {name} \\
  --timestep_sampling shift \\
  --discrete_flow_shift 3.1582 \\
  --model_prediction_type raw \\
  --guidance_scale 1.0 \\
  --loss_type l2"""
    if fork:
        return PREFIX + text + (f" \\\n  {advanced}" if advanced else "")
    return text + " \\\n" + (f"  {advanced}" if advanced else "")


def dataset_toml(name: str, trigger: str = "p3rs0n") -> str:
    """Returns dataset.toml as gen_toml of the older program writes it, with the trigger word not escaped."""
    return f"""[general]
shuffle_caption = false
caption_extension = '.txt'
keep_tokens = 1

[[datasets]]
resolution = 512
batch_size = 1
keep_tokens = 1

  [[datasets.subsets]]
  image_dir = '{ROOT}/datasets/{name}'
  class_tokens = '{trigger}'
  num_repeats = 10"""


def form(name: str, **changes: Any) -> dict[str, Any]:
    """Returns the values of the fork's ui_state.json."""
    values = {
        "lora_name": name,
        "concept_sentence": "p3rs0n",
        "base_model": "flux-dev",
        "vram": "20G",
        "num_repeats": 10,
        "max_train_epochs": 16,
        "sample_prompts": "",
        "sample_every_n_steps": 0,
        "resolution": 512,
        "enable_checkpointing": True,
        "resume_from_checkpoint": "",
        "enable_monitoring": True,
        "seed": 42,
        "workers": 2,
        "learning_rate": "8e-4",
        "save_every_n_epochs": 4,
        "guidance_scale": 1,
        "timestep_sampling": "shift",
        "network_dim": 4,
        "timestamp": STARTED,
        "status": "starting",
    }
    return values | changes


def weights(name: str, *, epoch: int, started: float = STARTED + 20) -> bytes:
    """Returns a LoRA file with sd-scripts' metadata."""
    body = lora(BLOCKS, alpha=1.0)
    length = int.from_bytes(body[:8], "little")
    header = json.loads(body[8 : 8 + length])
    told = {
        "ss_output_name": name,
        "ss_epoch": str(epoch),
        "ss_num_epochs": "16",
        "ss_network_dim": "4",
        "ss_training_started_at": repr(started),
        "ss_training_finished_at": repr(started + 60.0 * epoch),
    }
    return with_header(json.dumps({"__metadata__": told} | header).encode()) + body[8 + length :]


def folder(home: Path, name: str, script: str, *, trigger: str = "p3rs0n", prompts: str = "") -> Path:
    """Writes the folder of a training as a click on Start does."""
    path = home / "outputs" / name
    path.mkdir(parents=True)
    (path / "train.sh").write_text(script)
    (path / "dataset.toml").write_text(dataset_toml(name, trigger))
    (path / "sample_prompts.txt").write_text(prompts)
    return path


def save(path: Path, *epochs: int, states: bool = False, final: bool = False, tier: str = "20G") -> None:
    """Writes the files that the trainer saves at the end of these epochs. In the 12G tier alpha is 16, as set in its
    Advanced options."""
    for epoch in epochs:
        stem = path.name if epoch == 16 and final else f"{path.name}-{epoch:06d}"
        (path / f"{stem}.safetensors").write_bytes(weights(path.name, epoch=epoch))
        if states:
            trained = lora(SINGLE if tier == "12G" else BLOCKS | CLIP, alpha=16.0 if tier == "12G" else 1.0)
            state = write_state(path / f"{stem}-state", epoch=epoch, step=epoch * 20, weights=trained)
            if tier != "20G":
                (state / "optimizer.bin").write_bytes((RECORDED / "adafactor.bin").read_bytes())


def original(home: Path) -> None:
    """Writes the older program's home: no ui_state.json, no log, and states only if the Advanced options ask for
    them."""
    prompts = "p3rs0n in a garden --d 42\n# not this one\n\np3rs0n at night\n"
    done = folder(home, "finished", train_sh("finished", every=100), prompts=prompts)
    save(done, 4, 8, 12, 16, final=True)
    (done / "README.md").write_text("---\ntags:\n  - fluxgym\n---\n# finished\n")
    (done / "sample").mkdir()
    (done / "sample" / "finished_000100_00_20251116153000_42.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    save(folder(home, "epochs-only", train_sh("epochs-only", tier="16G", every=50), prompts="p3rs0n\n"), 4, 8)
    saving = train_sh("with-states", tier="12G", advanced="--save_state --network_alpha 16")
    save(folder(home, "with-states", saving), 4, 8, states=True, tier="12G")
    folder(home, "o-keeffe", train_sh("o-keeffe"), trigger="in the style of O'Keeffe")
    save(folder(home, "My LoRA", train_sh("My LoRA")), 16, final=True)
    (home / "outputs" / "sample").mkdir()
    (home / "outputs" / "notes").mkdir()
    (home / "outputs" / "notes" / "train.sh").write_text("#!/bin/sh\npython other.py --epochs 3\n")


def fork(home: Path) -> None:
    """Writes the home of the hardened fork."""
    stopped = folder(home, "stopped", train_sh("stopped", tier="16G", fork=True))
    save(stopped, 4, 8, states=True, tier="16G")
    write(stopped, form("stopped", vram="16G"))
    (stopped / "training.log").write_text("epoch 9/16\nsteps:  51%|\u2588\u2588   | 163/320\n")
    (stopped / "monitor.log").write_text("GPU monitoring started\n")
    (stopped / "monitor.pid").write_text("4711")

    torn = folder(home, "torn", train_sh("torn", fork=True, resume="outputs/torn/torn-000004-state"))
    save(torn, 4, 8, states=True)
    (torn / "torn-000008-state" / "random_states_0.pkl").unlink()
    (torn / "torn.safetensors").write_bytes(weights("torn", epoch=16)[:-100])
    write(torn, form("torn", resume_from_checkpoint="outputs/torn/torn-000004-state"))

    error = "Training did not produce model file"
    failed = folder(home, "failed", train_sh("failed", fork=True))
    write(failed, form("failed", status="failed", error=error))
    (failed / "training.log").write_text("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n")

    resumed = folder(home, "resumed", train_sh("resumed", fork=True))
    save(resumed, 4, 8, 12, 16, states=True, final=True)
    write(resumed, form("resumed", status="failed", error=error))
    (resumed / "resume.sh").write_text(train_sh("resumed", fork=True, resume="outputs/resumed/resumed-000008-state"))

    again = folder(home, "again", train_sh("again", fork=True))
    (again / "again.safetensors").write_bytes(weights("again", epoch=16, started=STARTED - 86400))
    write(again, form("again", status="completed", completed_at=STARTED + 9))

    no_script = folder(home, "no-script", train_sh("no-script", fork=True))
    save(no_script, 4, states=True)
    (no_script / "train.sh").unlink()
    write(no_script, form("no-script", vram="12G", base_model="flux-schnell", network_dim=8.0, seed=7.0))

    cut = folder(home, "cut-form", train_sh("cut-form", fork=True))
    save(cut, 4, states=True)
    (cut / "ui_state.json").write_text(json.dumps(form("cut-form"), indent=2)[:300])


def write(path: Path, values: dict[str, Any]) -> None:
    (path / "ui_state.json").write_text(json.dumps(values, indent=2, ensure_ascii=False))


def make(target: Path) -> None:
    """Writes both homes."""
    original(target / "original")
    fork(target / "fork")


if __name__ == "__main__":
    for stale in ("original", "fork"):
        shutil.rmtree(HERE / stale, ignore_errors=True)
    make(HERE)
