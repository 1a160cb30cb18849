# SPDX-License-Identifier: Apache-2.0
"""The command line: exactly the flags of `options.py`. All problems are reported in one run."""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn

from library.errors import EXIT_BAD_COMMAND_LINE, TrainerError, nearest
from library.findings import warn
from library.options import config_file, upstream_flags
from library.options.config_file import FileFlags
from library.options.options import Options
from library.options.upstream_flags import NOT_THERE, YET


@dataclass(frozen=True, kw_only=True)
class CommandLine:
    """A parsed command line. `wrong`: flags that are missing or whose value is refused; `options` has None or the
    default for them."""

    options: Options
    problems: tuple[TrainerError, ...]
    warnings: tuple[str, ...]
    wrong: frozenset[str]


class RaisingParser(argparse.ArgumentParser):
    """An ArgumentParser that raises TrainerError instead of printing the usage and ending the process."""

    def error(self, message: str) -> NoReturn:
        raise TrainerError(message)


def parser() -> argparse.ArgumentParser:
    """The parser, made from the fields of `Options`. It refuses abbreviations, since new flags could change them."""
    made = RaisingParser(
        prog="flux_train_network.py",
        description="Trains a Flux LoRA. Flags, dataset file and results are those of kohya-ss/sd-scripts.",
        allow_abbrev=False,
        exit_on_error=False,
    )
    for title, fields in groupby(_flags(), key=lambda field: field.metadata["group"]):
        group = made.add_argument_group(title)
        for field in fields:
            group.add_argument(f"--{field.name}", **field.metadata["argparse"])
    return made


def _flags() -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(Options) if "argparse" in field.metadata]


def parse(arguments: Sequence[str]) -> Options:
    """The options. If there are problems, prints each as a sentence on stderr and exits with status 2."""
    return options_of(read(arguments))


def options_of(line: CommandLine) -> Options:
    """The options of a command line that is already parsed; prints and exits as `parse` does."""
    for problem in line.problems:
        print(f"error: {problem}", file=sys.stderr)
    if line.problems:
        raise SystemExit(EXIT_BAD_COMMAND_LINE)
    for sentence in line.warnings:
        warn(sentence)
    return line.options


def read(arguments: Sequence[str]) -> CommandLine:
    """The options, with all problems of the command line and of --config_file."""
    arguments, ignored = upstream_flags.without_effect(arguments)
    reading = _Reading(ignored)
    own = list(_groups(arguments, reading.takes))
    file = next((Path(words[-1]) for name, words in reversed(own) if name == "--config_file" and words), None)
    if file is not None:
        try:
            reading.take_file(config_file.read(file, reading.parser), where=f"--config_file {file}: ")
        except TrainerError as error:
            reading.problems.append(error)
    # The later word wins, so the command line overrides the file.
    reading.take(own, where="")
    return reading.finish()


Group = tuple[str | None, list[str]]
"""A flag (None: words before any flag) and its values, including one joined to it by "="."""


def _groups(words: Sequence[str], takes: Mapping[str, object]) -> Iterator[Group]:
    flag: str | None = None
    values: list[str] = []
    for word in words:
        name, joined, value = word.partition("=")
        if name in takes or name.startswith("--"):
            if flag is not None or values:
                yield flag, values
            flag, values = name, [value] if joined else []
        else:
            values.append(word)
    if flag is not None or values:
        yield flag, values


class _Reading:
    """Parses the flags one by one into one namespace, and collects the problems."""

    def __init__(self, ignored: Sequence[str]) -> None:
        """`ignored`: flags that have no effect on Flux."""
        self._ignored = [*ignored]
        self.parser = parser()
        self.problems: list[TrainerError] = []
        self.takes = {option: action.nargs for action in self.parser._actions for option in action.option_strings}
        self._required = [action.dest for action in self.parser._actions if action.required]
        for action in self.parser._actions:
            action.required = False
        self._namespace = self.parser.parse_args([])
        self._named: set[str] = set()
        self._wrong: set[str] = set()

    def take_file(self, file: FileFlags, *, where: str) -> None:
        self.problems += [TrainerError(sentence, kind="command_line") for sentence in file.problems]
        self._ignored += file.without_effect
        self.take(_groups(file.words, self.takes), where=where)

    def take(self, groups: Iterator[Group] | Sequence[Group], *, where: str) -> None:
        """`where`: the prefix of each problem's sentence."""
        for flag, values in groups:
            if flag is None:
                self._refuse(None, f"{where}{values[0]!r} does not belong to any flag; put each value after its flag")
            elif flag not in self.takes:
                self._refuse(flag, where + refusal(flag, set(self.takes)))
            elif wrong := surplus(flag, values, self.takes[flag]):
                self._refuse(flag, where + wrong)
            else:
                self._named.add(flag.removeprefix("--"))
                self._parse(flag, values, where)

    def _parse(self, flag: str, values: list[str], where: str) -> None:
        # Joined by "=", so that a value may start with a dash.
        words = [f"{flag}={values[0]}"] if len(values) == 1 else [flag, *values]
        try:
            self.parser.parse_args(words, self._namespace)
        except argparse.ArgumentError as error:
            self._refuse(flag, f"{where}{error.argument_name}: {error.message}")
        except TrainerError as error:
            self._refuse(flag, f"{where}{flag}: {error}")

    def _refuse(self, flag: str | None, sentence: str) -> None:
        setting = flag.removeprefix("--") if flag else None
        self.problems.append(TrainerError(sentence, kind="command_line", setting=setting))
        if setting:
            self._wrong.add(setting)

    def finish(self) -> CommandLine:
        for name in self._required:
            if name not in self._named | self._wrong:
                helps = next(action.help for action in self.parser._actions if action.dest == name)
                self._refuse(f"--{name}", f"--{name} is missing: {helps}")
        options = Options(**vars(self._namespace), named=frozenset(self._named))
        for sentence in contradictions(options):
            # A flag whose value is refused cannot contradict another one.
            if not self._wrong.intersection(re.findall(r"--(\w+)", sentence)):
                self.problems.append(TrainerError(sentence, kind="command_line"))
        warnings = [upstream_flags.sentence(self._ignored)] if self._ignored else []
        warnings += overridden(options)
        return CommandLine(
            options=options,
            problems=tuple(self.problems),
            warnings=tuple(warnings),
            wrong=frozenset(self._wrong),
        )


def surplus(flag: str, values: Sequence[str], takes: int | str | None) -> str | None:
    """A sentence if a flag has too many values, else None. argparse's own message does not name the flag."""
    if takes == 0 and values:
        return f"{flag} is a switch and takes no value; remove {values[0]!r}"
    if takes is None and len(values) > 1:
        return f"{flag} takes one value; remove {values[1]!r}"
    return None


def refusal(name: str, own: set[str]) -> str:
    """Why a flag is refused: sd-scripts has it but this trainer does not, or neither has it."""
    if name in NOT_THERE:
        lacks = "does not support yet" if NOT_THERE[name] == YET else f"does not support, because {NOT_THERE[name]}"
        return f"{name} is an sd-scripts flag that this trainer {lacks}; leave it out (docs/trainer.md)"
    return f"unknown flag {name}{nearest(name, own | NOT_THERE.keys())}"


# Flag -> the flag that overrides it, as in sd-scripts.
OVERRIDES = {
    "max_train_steps": "max_train_epochs",
    "sample_every_n_steps": "sample_every_n_epochs",
    "lr_scheduler": "lr_scheduler_type",
    "network_dim": "dim_from_weights",
    "network_alpha": "dim_from_weights",
    "caption_extension": "caption_extention",
}


def overridden(options: Options) -> list[str]:
    """A sentence for each flag that is given but has no effect because another one overrides it."""
    return [
        f"--{name} has no effect, because --{other} is given"
        for name, other in OVERRIDES.items()
        if name in options.named and getattr(options, other)
    ]


def contradictions(options: Options) -> Iterator[str]:
    """A sentence for each set of flags that contradict each other, or that lack another flag they need."""
    samples = options.sample_every_n_epochs or options.sample_every_n_steps or options.sample_at_first
    if samples and options.sample_prompts is None:
        yield "samples are requested, but --sample_prompts is not given"
    if options.output_name is not None and "/" in options.output_name:
        yield f"--output_name {options.output_name!r} must not contain a slash; --output_dir sets the folder"
    if (options.fp8_base or options.fp8_base_unet) and options.mixed_precision == "no":
        yield "--fp8_base only stores the matrices in 8 bits; add --mixed_precision bf16 for the computation"
    if options.lr_warmup_steps and (options.lr_scheduler in ("constant", "piecewise_constant")):
        yield f"--lr_scheduler {options.lr_scheduler} has no warm-up; use constant_with_warmup, or no warm-up steps"
    if options.lr_warmup_steps and options.lr_scheduler_type:
        yield "--lr_scheduler_type does not use --lr_warmup_steps; give the class's arguments in --lr_scheduler_args"
    if options.loss_type in ("huber", "smooth_l1") and options.huber_schedule == "snr":
        fitting = f"--loss_type {options.loss_type} needs constant or exponential"
        yield f"--huber_schedule snr does not work with Flux; {fitting}"
    if options.text_encoder_lr is not None and len(options.text_encoder_lr) > 2:
        yield f"--text_encoder_lr has {len(options.text_encoder_lr)} rates; give one, or one each for CLIP-L and T5"
    if options.dim_from_weights and options.network_weights is None:
        yield "--dim_from_weights takes the ranks from --network_weights, which is not given"
    if options.no_compile and (options.compile or options.torch_compile):
        yield "--no_compile contradicts --compile (or --torch_compile); leave one of them out"
    if options.debug_hang_once is not None and options.debug_hang is None:
        yield "--debug_hang_once is given, but --debug_hang does not say where to hang"
    if options.dataset_config is None and options.train_data_dir is None:
        yield "--dataset_config or --train_data_dir is required, to say which pictures to train on"
