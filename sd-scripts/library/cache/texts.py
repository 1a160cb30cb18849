# SPDX-License-Identifier: Apache-2.0
"""Embeddings and token ids of a batch's texts, from the caches if pictures have one text each, or else encoded on
demand.

Captions that are shuffled, lose tags or come from wildcards give too many texts to encode beforehand (8 MB each with
the full T5), so for them the encoders stay on the device, as in sd-scripts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from torch import Tensor

from library.cache.text_cache import TextCache, TextEmbedding
from library.data.dataset import Picture

Encode = Callable[[str], TextEmbedding]


class Texts:
    """Embeddings and CLIP's token ids by text. Several threads may call it at once; tokenizers and encoders are not
    thread-safe, so a lock guards them."""

    def __init__(
        self,
        *,
        cache: TextCache,
        encode: Encode | None,
        empty: TextEmbedding | None,
        clip_ids: Callable[[str], Tensor] | None,
    ) -> None:
        """`encode`: given if texts are encoded on demand. `empty`: the embedding of a dropped caption. `clip_ids`:
        given if CLIP-L is trained."""
        self._cache, self._encode, self._empty, self._clip_ids = cache, encode, empty, clip_ids
        self._lock = threading.Lock()

    def embedding(self, picture: Picture, text: str) -> TextEmbedding:
        if self._encode is not None:
            with self._lock:
                return self._encode(text)
        if text == picture.text:
            return self._cache.embedding(picture)
        if text or self._empty is None:
            raise RuntimeError(f"the text {text!r} of {picture.path} was never encoded")
        return self._empty

    def clip_ids(self, text: str) -> Tensor | None:
        """CLIP's token ids, (77,) int64; None if CLIP-L is not trained."""
        if self._clip_ids is None:
            return None
        with self._lock:
            return self._clip_ids(text)
