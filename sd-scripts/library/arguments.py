# SPDX-License-Identifier: Apache-2.0
"""The command line: every flag of `options.py` and no other. A wrong one is one sentence and exit status 2."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from library import config_file
from library.errors import EXIT_BAD_COMMAND_LINE, TrainerError, nearest
from library.options import Options
from library.upstream_flags import NOT_THERE, YET


class OneSentenceParser(argparse.ArgumentParser):
    """argparse without the page of usage before each error."""

    def error(self, message: str) -> NoReturn:
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(EXIT_BAD_COMMAND_LINE)


def parser() -> argparse.ArgumentParser:
    """The parser, made from the fields of `Options`. Abbreviations are refused: new flags would change them."""
    made = OneSentenceParser(
        prog="flux_train_network.py",
        description="Trains a Flux LoRA. Flags, dataset file and results are those of kohya-ss/sd-scripts.",
        allow_abbrev=False,
    )
    for field in dataclasses.fields(Options):
        made.add_argument(f"--{field.name}", **field.metadata["argparse"])
    return made


def parse(arguments: Sequence[str]) -> Options:
    """The options. Ends the process with status 2 and one sentence on stderr if they are wrong."""
    made = parser()
    _refuse_unknown(made, arguments, where="")
    if wrong := surplus(made, arguments):
        made.error(wrong)
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    own.add_argument("--config_file", type=Path)
    try:
        file = own.parse_known_args(arguments)[0].config_file
        words = config_file.words(file, made) if file is not None else []
    except TrainerError as error:
        made.error(str(error))
    _refuse_unknown(made, words, where=f"--config_file {file}: ")
    # The later word wins, so the command line stands over the file.
    options = Options(**vars(made.parse_args([*words, *arguments])))
    if wrong := contradiction(options):
        made.error(wrong)
    return options


def _refuse_unknown(made: argparse.ArgumentParser, arguments: Sequence[str], *, where: str) -> None:
    own = {option for action in made._actions for option in action.option_strings}
    for argument in arguments:
        name = argument.partition("=")[0]
        if name.startswith("--") and name not in own:
            made.error(where + refusal(name, own))


def surplus(made: argparse.ArgumentParser, arguments: Sequence[str]) -> str | None:
    """The first word that no flag takes, as a sentence with the flag before it, which argparse's does not name."""
    takes = {option: action.nargs for action in made._actions for option in action.option_strings}
    flag, taken = None, 0
    for word in arguments:
        name, joined, value = word.partition("=")
        begins = name in takes
        flag, taken = (name, len(joined)) if begins else (flag, taken + 1)
        left = repr(value if begins else word)
        if flag is None:
            return f"{left} belongs to no flag; each value stands after its flag"
        if takes[flag] == 0 and taken:
            return f"{flag} is a switch, which takes no value; leave out {left}"
        if takes[flag] is None and taken > 1:
            return f"{flag} takes one value; leave out {left}"
    return None


def refusal(name: str, own: set[str]) -> str:
    """Why a flag is not taken: sd-scripts has it and we do not, or nobody has it."""
    if name in NOT_THERE:
        lacks = "does not have yet" if NOT_THERE[name] == YET else f"does not have, because {NOT_THERE[name]}"
        return f"{name} is a flag of sd-scripts that this trainer {lacks}; leave it out (docs/trainer.md)"
    return f"unknown flag {name}{nearest(name, own | NOT_THERE.keys())}"


def contradiction(options: Options) -> str | None:
    """The first pair of flags that cannot both hold, as a sentence."""
    samples = options.sample_every_n_epochs or options.sample_every_n_steps or options.sample_at_first
    if samples and options.sample_prompts is None:
        return "samples are asked for, but --sample_prompts does not say which"
    if options.output_name is not None and "/" in options.output_name:
        return f"--output_name {options.output_name!r} must not contain a slash; --output_dir is the folder"
    if (options.fp8_base or options.fp8_base_unet) and options.mixed_precision == "no":
        return "--fp8_base keeps the matrices alone in 8 bits: say what to compute in, with --mixed_precision bf16"
    if options.lr_warmup_steps and (options.lr_scheduler in ("constant", "piecewise_constant")):
        return f"--lr_scheduler {options.lr_scheduler} has no warm-up; take constant_with_warmup, or leave it out"
    if options.lr_warmup_steps and options.lr_scheduler_type:
        return "--lr_scheduler_type knows no --lr_warmup_steps; give its own arguments in --lr_scheduler_args"
    if options.loss_type in ("huber", "smooth_l1") and options.huber_schedule == "snr":
        return f"--huber_schedule snr is not for Flux: --loss_type {options.loss_type} needs constant or exponential"
    if options.text_encoder_lr is not None and len(options.text_encoder_lr) > 2:
        return f"--text_encoder_lr has {len(options.text_encoder_lr)} rates; one, or one and T5's, would be right"
    if options.dim_from_weights and options.network_weights is None:
        return "--dim_from_weights takes the ranks of --network_weights, which is not given"
    if options.no_compile and (options.compile or options.torch_compile):
        return "--no_compile and --compile (or --torch_compile) cannot both hold; leave one out"
    if options.debug_hang_once is not None and options.debug_hang is None:
        return "--debug_hang_once is given, but --debug_hang does not say where to hang"
    return None
