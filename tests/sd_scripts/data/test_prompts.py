# SPDX-License-Identifier: Apache-2.0
"""Prompt files as sd-scripts reads them. A problem in one is reported with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from library.data import prompts
from library.data.prompts import Prompt
from library.errors import TrainerError

CAT = Prompt(text="a cat", width=528, height=64, seed=7, steps=9, guidance=2.5, cfg=3.0, negative="a dog")
SAME_PROMPTS = {
    "p.txt": (
        "# a comment\n\na cat --w 530 --h 30 --d 7 --s 9 --g 2.5 --l 3 --n a dog\n"
        "plain -- text\na cat --W 530 --S 4\n"
    ),
    "p.toml": (
        "[prompt]\nwidth = 530\n"
        "[[prompt.subset]]\nprompt = 'a cat'\nheight = 30\nseed = 7\nsample_steps = 9\nguidance_scale = 2.5\n"
        "scale = 3\nnegative_prompt = 'a dog'\n"
        "[[prompt.subset]]\nprompt = 'plain -- text'\nwidth = 512\n"
        "[[prompt.subset]]\nprompt = 'a cat'\nsample_steps = 4\n"
    ),
    "p.json": (
        '[{"prompt": "a cat", "width": 530, "height": 30, "seed": 7, "sample_steps": 9, "guidance_scale": 2.5,'
        ' "scale": 3, "negative_prompt": "a dog"}, "plain -- text", "a cat --w 530 --s 4"]'
    ),
}


@pytest.mark.parametrize("name", SAME_PROMPTS)
def test_each_kind_of_file_gives_the_same_prompts(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(SAME_PROMPTS[name])
    assert prompts.read(path) == [CAT, Prompt(text="plain -- text"), Prompt(text="a cat", width=528, steps=4)]


def test_an_option_that_is_not_for_flux_is_accepted_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """sd-scripts' Flux trainer accepts these options of other models too, and they have no effect."""
    path = tmp_path / "p.txt"
    path.write_text("a cat --ss ddim --fs 3 --ctr 0.5 --rcfg 1 --cn edges.png --s 4\n")
    assert prompts.read(path) == [Prompt(text="a cat", steps=4)]
    said = capsys.readouterr().err.splitlines()
    prompt = f"{path}, line 1, 'a cat --ss ddim --fs 3 --ctr 0.5 --rcfg 1 --cn edges.png ...'"
    assert said[0] == f"warning: {prompt}: --ss has no effect: Flux is always sampled with Euler's method"
    assert len(said) == 5


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("p.txt", "a cat --w big", "p.txt, line 1, 'a cat --w big': --w big is not a whole number from 0 to 4096"),
        ("p.txt", "ok\na cat --w 100000", "line 2, 'a cat --w 100000': --w 100000 is not a whole number from 0"),
        ("p.txt", "a cat --s 0", "line 1, 'a cat --s 0': --s 0 is not a whole number from 1 to 1000"),
        ("p.txt", "a cat --d -1", "line 1, 'a cat --d -1': --d -1 is not a whole number from 0 to"),
        ("p.txt", "a cat --g 3,5", "line 1, 'a cat --g 3,5': --g 3,5 is not a number; write 3.5"),
        ("p.txt", "a cat --w", "line 1, 'a cat --w': --w has no value; give it one, or leave it out"),
        ("p.json", '["a cat --d -1"]', "p.json, prompt 1, 'a cat --d -1': --d -1 is not a whole number"),
        ("p.txt", "a cat --g nan", "p.txt, line 1, 'a cat --g nan': --g nan is not a number"),
        (
            "p.txt",
            "a cat --am 1",
            "p.txt, line 1, 'a cat --am 1': unknown option --am; known options are --w --h --d --s --g --l --n",
        ),
        ("p.txt", "# nothing", "p.txt has no prompts"),
        ("p.md", "a cat", "--sample_prompts: p.md must end in one of .txt, .toml, .json"),
        ("p.toml", "[prompt", "p.toml is not TOML: "),
        ("p.toml", "prompt = 'a cat'", "p.toml must have [prompt] and a [[prompt.subset]] for each prompt"),
        ("p.toml", "[prompt]\nprompt = 'a cat'", "p.toml must have [prompt] and a [[prompt.subset]] for each prompt"),
        ("p.toml", "[prompt]\nsubset = []", "p.toml has no prompts"),
        ("p.toml", "[prompt]\nsubset = []\n[prompts]", "p.toml: unknown section prompts"),
        (
            "p.toml",
            "[prompt]\n[[prompt.subset]]\nprompt = 'a'\n[[prompt.subset]]\nprompt = 'a'\nwidht = 64",
            "p.toml, [[prompt.subset]] number 2: unknown key widht; did you mean width?",
        ),
        ("p.toml", "[prompt]\n[[prompt.subset]]\nwidth = 64", "number 1: prompt is missing; write"),
        ("p.json", "[", "p.json is not JSON: "),
        ("p.json", '{"prompt": "a cat"}', "p.json must be a list of objects, one for each prompt"),
        ("p.json", '["ok", 7]', "p.json, prompt 2 must be a table with keys such as prompt, width and seed"),
        ("p.json", '[{"prompt": 7}]', "p.json, prompt 1: prompt = 7 is not valid text"),
        ("p.json", "[" * 100_000, "p.json is not JSON: "),
        ("p.json", '[{"prompt": "a \\ud800"}]', "p.json, prompt 1: prompt = 'a \\ud800' is not valid text"),
        ("p.json", '[{"prompt": "a", "scale": 1' + "0" * 400 + "}]", "is not a number"),
        ("p.json", '[{"prompt": "a", "seed": -1}]', "prompt 1: seed = -1 is not a whole number from 0 to"),
        ("p.json", '[{"prompt": "a", "seed": true}]', "prompt 1: seed = True is not a whole number from 0 to"),
        ("p.json", '[{"prompt": "a", "scale": "x"}]', "prompt 1: scale = 'x' is not a number"),
    ],
)
def test_errors_are_reported_with_their_place(name: str, content: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(TrainerError) as caught:
        prompts.read(path)
    assert sentence in str(caught.value)


def test_each_wrong_prompt_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("a cat --s 0\na dog\na cat --ar 16:9\n")
    with pytest.raises(TrainerError) as caught:
        prompts.read(path)
    assert [str(error).partition(": ")[2] for error in caught.value.errors] == [
        "--s 0 is not a whole number from 1 to 1000",
        "unknown option --ar; known options are --w --h --d --s --g --l --n",
    ]


def test_a_missing_or_binary_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(b"\xff")
    for name, sentence in (("p.txt", "is not UTF-8 text"), ("q.json", "there is no file")):
        with pytest.raises(TrainerError, match=sentence):
            prompts.read(tmp_path / name)
