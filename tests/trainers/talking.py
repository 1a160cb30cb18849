# SPDX-License-Identifier: Apache-2.0
"""A small third-party trainer that implements --check_job. A test sets its answers."""

import json
from pathlib import Path
from typing import Any

SCRIPT = """
import argparse, json, os, sys
from pathlib import Path
here = Path(__file__).parent
parser = argparse.ArgumentParser()
parser.add_argument("--check_job", action="store_true")
parser.add_argument("--dataset_config")
parser.add_argument("--resume")
args, others = parser.parse_known_args()
asked = {"argv": sys.argv[1:], "cwd": os.getcwd(), "dataset": Path(args.dataset_config).read_text()}
with (here / "asked").open("a") as file:
    file.write(json.dumps(asked) + "\\n")
print("what a library says on stderr", file=sys.stderr)
answers = json.loads((here / "answers.json").read_text())
answer = answers.get(Path(args.resume).name if args.resume else "", answers["*"])
print(json.dumps(answer).replace("DATASET_CONFIG", args.dataset_config))
"""


class TalkingTrainer:
    """A trainer in its own folder. Its answer depends on the state to resume from."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.script = folder / "flux_train_network.py"
        self.script.write_text(SCRIPT)
        self.answers: dict[str, dict[str, Any]] = {}
        self.answer()

    def answer(self, *, resume: str = "*", **parts: Any) -> None:
        """Sets the answer for a resume from this state; `*`: for all other cases."""
        self.answers[resume] = {"format": 1, "problems": [], "warnings": [], "plan": None, "state": None, "files": []}
        self.answers[resume] |= parts
        (self.path / "answers.json").write_text(json.dumps(self.answers))

    def problem(self, sentence: str, **parts: Any) -> None:
        self.answer(problems=[problem(sentence, **parts)])

    @property
    def asked(self) -> list[dict[str, Any]]:
        """All questions so far, in order."""
        file = self.path / "asked"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def problem(sentence: str, *, kind: str = "command_line", **parts: Any) -> dict[str, Any]:
    return {"kind": kind, "setting": None, "sentence": sentence, "path": None} | parts
