# SPDX-License-Identifier: Apache-2.0
"""Tests of reading a train.sh: as a shell would, but without executing any of it."""

import shlex
import subprocess
from pathlib import Path

import pytest

from fluxgymd.importing.script import Flags, flags, trainer_flags
from tests.data.older import make
from tests.harness.waiting import DEADLINE_SECONDS

RUN = "accelerate launch --mixed_precision bf16 sd-scripts/flux_train_network.py "


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None),
        ("echo hello", None),
        ("python other_train.py --seed 1", None),
        (RUN, {}),
        (RUN + "--seed 42 --sdpa", {"seed": ["42"], "sdpa": []}),
        (RUN + '--sample_every_n_steps="100"', {"sample_every_n_steps": ["100"]}),
        (RUN + '--optimizer_args "a=1" "b=2" --x', {"optimizer_args": ["a=1", "b=2"], "x": []}),
        (RUN + "--seed 1 --seed 2", {"seed": ["2"]}),
        (RUN + "--network_alpha -1", {"network_alpha": ["-1"]}),
        (RUN + "\\\n  --seed 42 \\\n  --sdpa \\\n", {"seed": ["42"], "sdpa": []}),
        (RUN + "--seed 4\\\n2", {"seed": ["42"]}),
        (RUN + "--max_grad_norm 0.0 \\--save_state \\\n --x", {"max_grad_norm": ["0.0"], "save_state": [], "x": []}),
        (RUN + "--loss_type l2\n  --network_alpha 16", {"loss_type": ["l2"]}),  # a separate command to the shell
        (RUN + "--seed 42 2>&1 | tee log.txt", {"seed": ["42"]}),
        (RUN + "--seed 42; touch /tmp/x", {"seed": ["42"]}),
        (RUN + "--seed 42 # --sdpa", {"seed": ["42"]}),
        (RUN + "--seed 42 \\\n# --highvram \\\n--sdpa", {"seed": ["42"]}),
        ("# don't\n" + RUN + "--seed 42", {"seed": ["42"]}),
        (RUN + "--ae a#b --clip_l 'c d'", {"ae": ["a#b"], "clip_l": ["c d"]}),
        (RUN + "--seed 42 --comment 'never closed", {"seed": ["42"], "comment": []}),
        (RUN + "--seed 1\n" + RUN + "--seed 2", {"seed": ["2"]}),
        (RUN + "--learning_rate 8e-4 $(touch x)", {"learning_rate": ["8e-4", "$(touch", "x)"]}),
        ("python sd-scripts\\flux_train_network.py ^\r\n --seed 42 ^\r\n --sdpa\r\n", None),  # the path is not quoted
        ('python "sd-scripts\\flux_train_network.py" ^\r\n --seed 42 ^\r\n --sdpa\r\n', {"seed": ["42"], "sdpa": []}),
    ],
)
def test_the_flags_of_a_script_are_read(text: str, found: Flags | None) -> None:
    assert trainer_flags(text) == found


@pytest.mark.parametrize("tier", make.TIERS)
@pytest.mark.parametrize("fork", [False, True])
@pytest.mark.parametrize("every", [0, 100])
@pytest.mark.parametrize("advanced", ["", "--network_alpha 16 --noise_offset 0.1"])
def test_the_older_programs_scripts_are_read_as_bash_reads_them(
    tmp_path: Path, tier: str, fork: bool, every: int, advanced: str
) -> None:
    resume = "outputs/x/x-000004-state" if fork else ""
    text = make.train_sh("x", tier=tier, fork=fork, every=every, resume=resume, advanced=advanced)
    script = tmp_path / "train.sh"
    script.write_text(f'accelerate() {{ printf "%q " "$@"; }}\n{text}')
    told = subprocess.run(
        ["bash", script], capture_output=True, text=True, cwd=tmp_path, check=False, timeout=DEADLINE_SECONDS
    )
    words = shlex.split(told.stdout)
    expected = flags(words[words.index("sd-scripts/flux_train_network.py") + 1 :])
    assert len(expected) > 25
    assert trainer_flags(text) == expected
