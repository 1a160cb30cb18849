# SPDX-License-Identifier: Apache-2.0
"""The program as the daemon starts it: its files, log, progress, signals and exit status."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save

from tests.harness.namespace import need_root
from tests.harness.waiting import DEADLINE_SECONDS
from tests.sd_scripts.recorded import recorded
from tests.sd_scripts.running import PROGRAM, ROOT, Models, Outcome, Settings, running, train

HEADER = recorded("lora-header")
PHASES = ["starting", "loading", "caching", "loading", "caching", "loading"]


def test_a_run_leaves_the_files_of_sd_scripts(undisturbed: Outcome) -> None:
    names = {path.name for path in undisturbed.output_dir.iterdir()}
    assert names == {
        *("lora-000001.safetensors", "lora-000002.safetensors", "lora.safetensors"),
        *("lora-000001-state", "lora-000002-state", "lora-state", "sample"),
    }
    state = undisturbed.output_dir / "lora-000002-state"
    assert {path.name for path in state.iterdir()} == {
        *("train_state.json", "model.safetensors", "optimizer.bin", "scheduler.bin", "random_states_0.pkl"),
    }
    progress = json.loads((state / "train_state.json").read_text())
    assert (progress["current_epoch"], progress["current_step"]) == (2, 120)


def test_samples_have_the_names_of_sd_scripts_and_the_requested_size(undisturbed: Outcome) -> None:
    sheet, *samples = sorted((undisturbed.output_dir / "sample").iterdir())
    assert sheet.name == "lora-contact-sheet.png"
    shapes = [re.sub(r"\d{14}", "DATE", path.name) for path in samples]
    assert shapes == [
        f"lora_e{epoch:06d}_{index:02d}_DATE{seed}.png" for epoch in range(4) for index, seed in enumerate(("_7", ""))
    ]
    for path in samples:
        with Image.open(path) as picture:
            assert picture.size == (64, 64)
    assert samples[0].read_bytes() != samples[6].read_bytes()


def test_the_log_has_lines_for_people_and_the_bar_that_programs_read(undisturbed: Outcome) -> None:
    for line in (
        "  pictures, with repeats: 60",
        "  batches per process and epoch: 60",
        "  epochs: 3",
        "  steps: 180",
        "epoch 2/3",
        f"saving checkpoint: {undisturbed.output_dir / 'lora-000001.safetensors'}",
    ):
        assert line in undisturbed.stdout.splitlines()
    last = re.findall(r"steps: +(\d+)%\|.*?\| (\d+)/(\d+) \[.*?, avr_loss=([\d.]+)\]", undisturbed.stderr)[-1]
    assert last[:3] == ("100", "180", "180")
    assert "Traceback" not in undisturbed.stderr


def test_progress_reports_every_phase_and_the_last_step(undisturbed: Outcome) -> None:
    phases = undisturbed.phases()
    assert phases[: len(PHASES)] == PHASES
    assert phases[-1] == "finishing"
    assert {"training", "sampling", "saving"} <= set(phases)
    training = undisturbed.steps()
    assert [line["step"] for line in training] == sorted({line["step"] for line in training})
    assert {60, 120, 180} <= {line["step"] for line in training}
    expected = {
        *("time", "phase", "step", "totalSteps", "epoch", "totalEpochs", "loss", "averageLoss"),
        *("learningRate", "secondsPerStep", "peakMemoryBytes"),
    }
    assert all(set(line) - {"imagesPerSecond"} == expected for line in training)
    assert training[-1]["imagesPerSecond"] > 0
    told = re.findall(r"^speed: .* s per step, .* images/s, peak memory .* GB$", undisturbed.stdout, re.MULTILINE)
    assert len(told) == 3
    assert (training[-1]["totalSteps"], training[-1]["epoch"], training[-1]["totalEpochs"]) == (180, 3, 3)


def test_the_training_learns(undisturbed: Outcome) -> None:
    training = undisturbed.steps()
    losses = [line["averageLoss"] for line in training if line["step"] in (60, 180)]
    assert losses[-1] < 0.9 * losses[0]


def test_the_lora_has_the_keys_metadata_and_hashes_of_kohya(undisturbed: Outcome) -> None:
    tensors = load_file(undisturbed.lora)
    metadata = safe_open(undisturbed.lora, "pt").metadata()
    assert set(metadata) == set(HEADER["__metadata__"])
    assert metadata["ss_steps"] == "180"
    assert (metadata["ss_network_dim"], metadata["ss_network_alpha"], metadata["ss_seed"]) == ("2", "1", "42")
    tags = {"pictures": {f"a {colour} square": 1 for colour in ("red", "lime", "blue")}}
    assert json.loads(metadata["ss_tag_frequency"]) == tags
    assert json.loads(metadata["ss_dataset_dirs"]) == {"pictures": {"n_repeats": 20, "img_count": 3}}
    # One alpha and two matrices for each Linear: 10 + 3 in the blocks, 6 in each of CLIP's two layers.
    assert len(tensors) == 3 * (10 + 3 + 2 * 6)
    blob = save(tensors, {key: value for key, value in metadata.items() if key.startswith("ss_")})
    start = 8 + int.from_bytes(blob[:8], "little")
    assert hashlib.sha256(blob[start:]).hexdigest() == metadata["sshs_model_hash"]
    assert hashlib.sha256(blob[0x100000:0x110000]).hexdigest()[:8] == metadata["sshs_legacy_hash"]


def test_the_models_are_a_function_of_the_seed(models: Models, tmp_path: Path) -> None:
    program = ROOT / "sd-scripts" / "make_tiny_flux.py"
    size = ("--hidden", "64", "--heads", "2", "--double-blocks", "1", "--single-blocks", "1")
    subprocess.run(
        [sys.executable, program, tmp_path, *size], check=True, capture_output=True, timeout=DEADLINE_SECONDS
    )
    for path in sorted(path for path in models.folder.rglob("*") if path.is_file()):
        assert (tmp_path / path.relative_to(models.folder)).read_bytes() == path.read_bytes(), path


def test_sigterm_while_loading_ends_the_run_at_once(settings: Settings) -> None:
    with running(settings) as trainer:
        trainer.wait_for(lambda line: line["phase"] == "loading")
        trainer.signal_group(signal.SIGTERM)
        outcome = trainer.finish()
    assert outcome.status == 143
    assert list(outcome.output_dir.iterdir()) == []
    assert not list(settings.pictures.glob("*.tmp"))


def test_sigterm_while_caching_stops_after_the_picture(settings: Settings) -> None:
    """The pictures are large, so that the signal arrives while one is being encoded."""
    (settings.folder / "dataset.toml").write_text(
        f"[[datasets]]\nresolution = 256\n[[datasets.subsets]]\nimage_dir = '{settings.pictures}'\n"
    )
    with running(settings.plus("--cache_latents_to_disk")) as trainer:
        trainer.wait_for(lambda line: line["phase"] == "caching")
        trainer.signal_group(signal.SIGTERM)
        outcome = trainer.finish()
    assert outcome.status == 143, outcome.stderr
    assert 1 <= len(list(settings.pictures.glob("*_flux.npz"))) < 3
    assert not list(settings.pictures.glob("*.tmp"))
    assert list(outcome.output_dir.iterdir()) == []


def test_sigquit_writes_all_stacks_and_sigterm_while_sampling_drops_the_samples(settings: Settings) -> None:
    prompts = settings.folder / "slow.txt"
    prompts.write_text("a red square --w 64 --h 64 --s 1000\n")
    sampling = settings.plus(f"--sample_prompts {prompts} --sample_every_n_epochs 1")
    with running(sampling) as trainer:
        trainer.wait_for(lambda line: line["phase"] == "sampling")
        trainer.process.send_signal(signal.SIGQUIT)
        trainer.signal_group(signal.SIGTERM)
        outcome = trainer.finish()
    assert outcome.status == 143, outcome.stderr
    assert "most recent call first" in outcome.stderr
    assert "training.py" in outcome.stderr
    assert not (outcome.output_dir / "sample").exists()
    (state,) = outcome.output_dir.glob("lora-step*-state")
    assert json.loads((state / "train_state.json").read_text())["current_step"] == 6


@pytest.mark.parametrize(
    ("flags", "status", "sentence"),
    [
        ("--clip_l missing.safetensors", 1, "error: --clip_l: there is no file missing.safetensors\n"),
        ("--learning_rat 1", 2, "error: unknown flag --learning_rat; did you mean --learning_rate?\n"),
    ],
)
def test_bad_input_gets_one_sentence(flags: str, status: int, sentence: str, settings: Settings) -> None:
    with running(settings.plus(flags)) as trainer:
        outcome = trainer.finish()
    assert (outcome.status, outcome.stderr) == (status, sentence)
    assert not outcome.output_dir.exists() or list(outcome.output_dir.iterdir()) == []


def test_a_full_disk_leaves_the_last_good_state(settings: Settings) -> None:
    """A real file system with room for one state but not for two. Only root can mount it."""
    need_root("mounts a small file system")
    output, kept = settings.output_dir, settings.folder / "kept"
    output.mkdir()
    script = 'mount -t tmpfs -o size=2m tmpfs "$1" && shift && "$@"; status=$?; cp -a "$0/." "$KEPT"; exit $status'
    os.environ["KEPT"] = str(kept)
    kept.mkdir()
    command = ("unshare", "--mount", "sh", "-c", script, str(output), str(output))
    try:
        with running(settings.plus("--network_dim 16 --network_train_unet_only"), command) as trainer:
            outcome = trainer.finish()
    finally:
        del os.environ["KEPT"]
    assert outcome.status == 1, outcome.stderr
    assert "could not be saved" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    left = sorted(path.name for path in kept.iterdir())
    assert left[0] == "lora-000001-state"
    assert not any(name.endswith((".tmp", ".old")) for name in left)
    assert torch.load(kept / "lora-000001-state" / "optimizer.bin", weights_only=True)["state"]


def test_files_in_the_directory_where_it_is_started_are_not_imported(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users start it in folders with their own scripts, some of which have the names of modules."""
    (cwd := tmp_path / "cwd").mkdir()
    for name in ("random", "struct", "torch", "library", "tomllib", "safetensors"):
        (cwd / f"{name}.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.chdir(cwd)
    assert train(settings.plus("--max_train_steps 1")).lora.exists()
    assert sorted(path.suffix for path in cwd.iterdir()) == [".py"] * 6


def test_a_python_without_torch_is_reported(settings: Settings) -> None:
    arguments = [sys.executable, "-S", PROGRAM, *settings.arguments()]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=DEADLINE_SECONDS)
    assert done.returncode == 1
    assert done.stderr.endswith("has no module torch; use the Python of the trainer's environment\n")
    assert done.stderr.count("\n") == 1


def test_importing_the_command_line_needs_no_torch() -> None:
    """A wrong flag is reported at once, and the signal handlers are installed before torch is imported."""
    code = f"import sys; sys.path.insert(0, {str(PROGRAM.parent)!r}); import flux_train_network; "
    code += "import library.options.arguments\n"
    code += "assert not {'torch', 'numpy', 'accelerate', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=DEADLINE_SECONDS)
