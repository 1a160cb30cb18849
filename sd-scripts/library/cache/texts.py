# SPDX-License-Identifier: Apache-2.0
"""A batch's texts, encoded: from the caches if pictures have one text each, or else encoded on demand.

Captions that are shuffled, lose tags or come from wildcards give too many texts to encode beforehand (8 MB each with
the full T5), so for them the encoders stay on the device, as in sd-scripts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from library.cache.text_cache import TextCache
from library.data.dataset import Picture
from library.family.models import Text

Encode = Callable[[str], Text]


class Texts:
    """What a forward pass needs of each text. Several threads may call it at once; tokenizers and encoders are not
    thread-safe, so a lock guards them."""

    def __init__(
        self,
        *,
        cache: TextCache,
        parts: tuple[str, ...],
        encode: Encode | None,
        empty: Text | None,
        ids: Encode | None,
    ) -> None:
        """`parts`: the names of the tensors that a forward pass needs. `encode`: given if texts are encoded on
        demand. `empty`: what a dropped caption gives. `ids`: token ids, given if a text encoder is trained."""
        self._cache, self._parts, self._encode, self._empty, self._ids = cache, parts, encode, empty, ids
        self._lock = threading.Lock()

    def of(self, picture: Picture, text: str) -> Text:
        """The tensors of a picture's text: the parts, and the token ids for an encoder that is trained."""
        found = self._encoded(picture, text)
        return {**{name: found[name] for name in self._parts}, **self._token_ids(text)}

    def _encoded(self, picture: Picture, text: str) -> Text:
        if self._encode is not None:
            with self._lock:
                return self._encode(text)
        if text == picture.text:
            return self._cache.text(picture)
        if text or self._empty is None:
            raise RuntimeError(f"the text {text!r} of {picture.path} was never encoded")
        return self._empty

    def _token_ids(self, text: str) -> Text:
        if self._ids is None:
            return {}
        with self._lock:
            return self._ids(text)
