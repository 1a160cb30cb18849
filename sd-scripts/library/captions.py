# SPDX-License-Identifier: Apache-2.0
"""What a caption becomes each time that its picture is trained: sd-scripts' rules in sd-scripts' order.

Every choice is drawn from the generator that is given, which the caller seeds with the place of the picture in the
training; so a resumed run reads the same captions as the undisturbed one.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CaptionRules:
    """A subset's keys in dataset.toml. Rates are from 0 to 1; `token_warmup_step` below 1 is a part of all steps."""

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
    def many_texts(self) -> bool:
        """Whether a caption becomes more texts than itself and nothing, so that they cannot be encoded beforehand."""
        return self.changes_tags or self.enable_wildcard

    @property
    def drops(self) -> bool:
        return self.caption_dropout_rate > 0 or self.caption_dropout_every_n_epochs > 0


@dataclass(frozen=True, kw_only=True)
class Place:
    """`epoch` counts from 1; `step` is the number of optimizer steps done."""

    epoch: int
    step: int
    total_steps: int


def fixed(caption: str, rules: CaptionRules) -> str:
    """The text where nothing is drawn: with prefix and suffix, and the secondary separator replaced."""
    return _separated(_framed(caption, rules), rules)


def draw(caption: str, rules: CaptionRules, place: Place, rng: random.Random) -> str:
    """The text of one picture at one place of the training. A dropped caption is empty."""
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
    """With enable_wildcard a caption has several lines, and prefix and suffix stand at its two ends, as upstream."""
    return " ".join(part for part in (rules.caption_prefix, caption, rules.caption_suffix) if part)


def _separated(text: str, rules: CaptionRules) -> str:
    return text.replace(rules.secondary_separator, rules.caption_separator) if rules.secondary_separator else text


def _wildcards(text: str, rng: random.Random) -> str:
    """One of the lines, and in it one of each `{a|b|c}`; `{{` and `}}` are braces that stay."""
    lines = text.split("\n")
    line = rng.choice(lines) if len(lines) > 1 else text
    pieces = re.split(r"(\{\{|\}\})", line)
    # Braces that stay are put aside under characters that no text file holds.
    marked = "".join({"{{": "\ue000", "}}": "\ue001"}.get(piece, piece) for piece in pieces)
    chosen = re.sub(r"\{([^}]+)\}", lambda found: rng.choice(found.group(1).split("|")), marked)
    return chosen.replace("\ue000", "{").replace("\ue001", "}")


def _tags(text: str, rules: CaptionRules, place: Place, rng: random.Random) -> str:
    first, tags, last = _parts(text, rules)
    warmup = rules.token_warmup_step
    if warmup < 1:
        warmup = int(warmup * place.total_steps)
    if warmup and place.step < warmup:
        least = rules.token_warmup_min
        # Floor, for a caption shorter than the minimum too, as upstream.
        tags = tags[: int(place.step * (len(tags) - least) // warmup) + least]
    if rules.shuffle_caption:
        rng.shuffle(tags)
    if rules.caption_tag_dropout_rate > 0:
        tags = [tag for tag in tags if rng.random() >= rules.caption_tag_dropout_rate]
    return ", ".join([*first, *tags, *last])


def _parts(text: str, rules: CaptionRules) -> tuple[list[str], list[str], list[str]]:
    """Tags that stay at the front, tags that move, tags that stay at the end."""
    between, separator = rules.keep_tokens_separator, rules.caption_separator
    if between and between in text:
        parts = [*text.split(between, 2), "", ""][:3]
        first, moving, last = ([tag.strip() for tag in part.split(separator) if tag.strip()] for part in parts)
        return first, moving, last
    tags = [tag.strip() for tag in text.strip().split(separator)]
    return tags[: max(rules.keep_tokens, 0)], tags[max(rules.keep_tokens, 0) :], []
