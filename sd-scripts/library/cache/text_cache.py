# SPDX-License-Identifier: Apache-2.0
"""Encoded captions, in memory or, as in sd-scripts, in a file beside the picture: `{stem}_flux_te.npz` for FLUX.1.

A cache holds what the encoders make of `Picture.text`, the text without random choices: a shuffled caption cannot be
cached.
"""

from __future__ import annotations

from collections.abc import Iterable

from library.cache import cache_file, needed
from library.cache.inputs import TEXT_SEAL, TextInputs
from library.data.dataset import Picture
from library.family.cache_names import CacheNames
from library.family.models import Arrays, Text, TextFile

FLAG = "--cache_text_encoder_outputs_to_disk"


class TextCache:
    """The encoded captions of one dataset. `file`: how one is kept; `inputs`: what they are made from."""

    def __init__(self, file: TextFile, names: CacheNames, *, inputs: TextInputs, on_disk: bool) -> None:
        self._file, self._names, self._inputs = file, names, inputs
        self._files = needed.TextFiles(on_disk=on_disk)
        self._in_memory: dict[str, Text] = {}

    def missing(self, pictures: Iterable[Picture]) -> list[Picture]:
        """The pictures whose texts must be encoded. Texts that are kept in memory occur once each."""
        return needed.texts(
            pictures, self._files, in_file=self._is_valid, in_memory=lambda text: text in self._in_memory
        )

    def _is_valid(self, picture: Picture) -> bool:
        path = self._names.text(picture)

        def unsealed(arrays: Arrays) -> bool:
            """Whether a cache without a seal, one by sd-scripts, is valid. sd-scripts encodes the caption exactly as
            it is in its file."""
            plain = picture.caption_path is not None and picture.text == picture.caption
            return self._file.fits(arrays) and plain and cache_file.is_newer(path, picture.sources)

        return cache_file.is_valid(
            path, self._file.names, seal_name=TEXT_SEAL, inputs=self._inputs.of(picture), unsealed=unsealed
        )

    def keep(self, picture: Picture, text: Text) -> None:
        """Stores an encoded caption in its file or in memory."""
        if not self._files.holds(picture):
            self._in_memory[picture.text] = text
            return
        arrays, path = self._file.arrays(text), self._names.text(picture)
        cache_file.write(path, arrays, seal_name=TEXT_SEAL, inputs=self._inputs.of(picture), flag=FLAG)

    def text(self, picture: Picture) -> Text:
        """The picture's caption, encoded."""
        if not self._files.holds(picture):
            return self._in_memory[picture.text]
        return self._file.read(self._names.text(picture))
