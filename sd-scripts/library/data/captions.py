# SPDX-License-Identifier: Apache-2.0
"""Turns a caption into the text for one use of its picture, by sd-scripts' rules in sd-scripts' order.

All random choices come from a generator that the caller seeds with the picture's place in the training, so a resumed
run trains on the same texts as an undisturbed one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

CHANGING = ("shuffle_caption", "caption_tag_dropout_rate", "token_warmup_step", "enable_wildcard")


@dataclass(frozen=True, kw_only=True)
class CaptionRules:
    """A subset's keys in dataset.toml. Rates are from 0 to 1; `token_warmup_step` below 1 is a share of all steps."""

    shuffle_caption: bool = False
    caption_separator: str = ","
    keep_tokens: int = 0
    keep_tokens_separator: str = ""
    secondary_separator: str = ""
    enable_wildcard: bool = False
    caption_prefix: str = ""
    caption_suffix: str = ""
    caption_dropout_rate: float = 0.0
    caption_dropout_every_n_epochs: int = 0
    caption_tag_dropout_rate: float = 0.0
    token_warmup_min: int = 1
    token_warmup_step: float = 0.0

    @property
    def changes_tags(self) -> bool:
        return self.shuffle_caption or self.token_warmup_step > 0 or self.caption_tag_dropout_rate > 0

    @property
    def changing(self) -> tuple[str, ...]:
        """The keys in use that give a caption further texts, beyond the caption itself and the empty text."""
        return tuple(key for key in CHANGING if getattr(self, key))

    @property
    def many_texts(self) -> bool:
        """Whether any such key is in use, so that captions cannot be encoded in advance."""
        return bool(self.changing)

    @property
    def drops(self) -> bool:
        return self.caption_dropout_rate > 0 or self.caption_dropout_every_n_epochs > 0


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place in the training. `epoch` counts from 1; `step` is the number of optimizer steps done."""

    epoch: int
    step: int
    total_steps: int


def lines_of(text: str) -> list[str]:
    """The lines of a caption file, stripped, without the blank ones.

    As in sd-scripts, a line ends with a line feed, a carriage return, or both. The other characters at which Python
    would split (form feed, U+2028, ...) are part of the caption.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [line.strip() for line in lines if line.strip()]


def fixed(caption: str, rules: CaptionRules) -> str:
    """The text without random choices: with prefix and suffix, and the secondary separator replaced."""
    return _separated(_framed(caption, rules), rules)


def draw(caption: str, rules: CaptionRules, place: Place, rng: random.Random) -> str:
    """The text of a picture at one place in the training. A dropped caption is empty."""
    text = _framed(caption, rules)
    if rules.caption_dropout_rate > 0 and rng.random() < rules.caption_dropout_rate:
        return ""
    every = rules.caption_dropout_every_n_epochs
    if every > 0 and place.epoch % every == 0:
        return ""
    if rules.enable_wildcard:
        text = _wildcards(text, rng)
    if rules.changes_tags:
        text = _tags(text, rules, place, rng)
    return _separated(text, rules)


def _framed(caption: str, rules: CaptionRules) -> str:
    """The caption with prefix and suffix. With enable_wildcard it may have several lines; as in sd-scripts, only the
    first then gets the prefix, and the last the suffix."""
    return " ".join(part for part in (rules.caption_prefix, caption, rules.caption_suffix) if part)


def _separated(text: str, rules: CaptionRules) -> str:
    return text.replace(rules.secondary_separator, rules.caption_separator) if rules.secondary_separator else text


def longest(text: str) -> str:
    """The longest text, in characters, that enable_wildcard may draw from a caption's fixed text."""
    return max((_filled(line, _longest_of) for line in text.split("\n")), key=len)


def _longest_of(alternatives: Sequence[str]) -> str:
    return max(alternatives, key=len)


def _wildcards(text: str, rng: random.Random) -> str:
    """One line at random, with one alternative of each `{a|b|c}` in it."""
    lines = text.split("\n")
    return _filled(rng.choice(lines) if len(lines) > 1 else text, rng.choice)


def _filled(line: str, choose: Callable[[Sequence[str]], str]) -> str:
    """The line with one alternative of each `{a|b|c}`. `{{` and `}}` stand for literal braces."""
    pieces = re.split(r"(\{\{|\}\})", line)
    # Private-use characters, which captions don't contain, stand in for literal braces.
    marked = "".join({"{{": "\ue000", "}}": "\ue001"}.get(piece, piece) for piece in pieces)
    chosen = re.sub(r"\{([^}]+)\}", lambda found: choose(found.group(1).split("|")), marked)
    return chosen.replace("\ue000", "{").replace("\ue001", "}")


def _tags(text: str, rules: CaptionRules, place: Place, rng: random.Random) -> str:
    first, tags, last = _parts(text, rules)
    warmup = rules.token_warmup_step
    if warmup < 1:
        warmup = int(warmup * place.total_steps)
    if warmup and place.step < warmup:
        least = rules.token_warmup_min
        # Floor division as in sd-scripts, also for a caption with fewer tags than the minimum.
        tags = tags[: int(place.step * (len(tags) - least) // warmup) + least]
    if rules.shuffle_caption:
        rng.shuffle(tags)
    if rules.caption_tag_dropout_rate > 0:
        tags = [tag for tag in tags if rng.random() >= rules.caption_tag_dropout_rate]
    return ", ".join([*first, *tags, *last])


def _parts(text: str, rules: CaptionRules) -> tuple[list[str], list[str], list[str]]:
    """(tags kept at the front, tags that may be shuffled or dropped, tags kept at the end)."""
    between, separator = rules.keep_tokens_separator, rules.caption_separator
    if between and between in text:
        parts = [*text.split(between, 2), "", ""][:3]
        first, moving, last = ([tag.strip() for tag in part.split(separator) if tag.strip()] for part in parts)
        return first, moving, last
    tags = [tag.strip() for tag in text.strip().split(separator)]
    return tags[: max(rules.keep_tokens, 0)], tags[max(rules.keep_tokens, 0) :], []
