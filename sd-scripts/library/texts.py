# SPDX-License-Identifier: Apache-2.0
"""What a batch needs of a text: from the caches where a picture has one text, else encoded when it is needed.

Captions that are shuffled, dropped by tag or drawn from wildcards are too many to encode beforehand (8 MB each with
the full T5), so the encoders stay on the device for them, as in sd-scripts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from torch import Tensor

from library.dataset import Picture
from library.text_cache import TextCache, TextEmbedding

Encode = Callable[[str], TextEmbedding]


class Texts:
    """Embeddings and CLIP's token ids by text. Threads may ask at the same time; tokenizers and encoders do not bear
    that, so one is served after the other."""

    def __init__(
        self,
        *,
        cache: TextCache,
        encode: Encode | None,
        empty: TextEmbedding | None,
        clip_ids: Callable[[str], Tensor] | None,
    ) -> None:
        """`encode`: given where texts are encoded when they are needed. `empty`: the embedding of a dropped caption.
        `clip_ids`: given where CLIP-L is trained."""
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
        """(77,) int64, or None where CLIP-L is not trained."""
        if self._clip_ids is None:
            return None
        with self._lock:
            return self._clip_ids(text)
