# SPDX-License-Identifier: Apache-2.0
"""The caching phase: runs the autoencoder and the text encoders once, before the training.

The autoencoder and the text encoders are loaded one after the other, only if something is missing, and released
afterwards. A text encoder stays if it is trained, and all of them stay if the captions' texts vary. A stop takes
effect after the current picture or caption, and at once while an encoder is loading.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from library import debug_hang
from library.cache import cache_file, latent_cache, text_cache
from library.cache.inputs import Content, LatentInputs, TextInputs
from library.cache.latent_cache import LatentCache
from library.cache.shared import SharedCaches
from library.cache.text_cache import TextCache
from library.cache.texts import Texts
from library.data.dataset import Dataset, Picture
from library.data.prompts import Prompt
from library.family.models import Text, TextEncoders, TrainedEncoder
from library.family.port import BaseModel, Tokenizers
from library.metrics import Metrics
from library.options.options import Options
from library.signals import StopRequest


@dataclass(frozen=True, kw_only=True)
class EncodedPrompt:
    """A sample's prompt, encoded, with token ids if a text encoder is trained. `negative` is None if the CFG scale is
    1."""

    prompt: Prompt
    positive: Text
    negative: Text | None


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Everything that the training needs from the encoders. `trained`: the text encoder that gets a LoRA."""

    latents: LatentCache
    texts: Texts
    prompts: list[EncodedPrompt]
    trained: TrainedEncoder | None


class CachingPhase:
    """The caching phase of one training."""

    def __init__(
        self,
        *,
        options: Options,
        dataset: Dataset,
        prompts: Sequence[Prompt],
        models: BaseModel,
        device: torch.device,
        dtype: torch.dtype,
        stop: StopRequest,
        metrics: Metrics,
    ) -> None:
        self._options, self._dataset, self._prompts = options, dataset, prompts
        self._models, self._device, self._dtype = models, device, dtype
        self._stop, self._metrics = stop, metrics
        self._names, self._file = models.cache_names, models.text_file()
        self._of_latents = LatentInputs(autoencoder=models.autoencoder_path, names=self._names)
        self._of_texts = TextInputs(models.text_sources(options), self._names, dtype=str(dtype))
        self._latents = LatentCache(self._names, inputs=self._of_latents, on_disk=options.cache_latents_to_disk)
        self._texts = TextCache(
            self._file, self._names, inputs=self._of_texts, on_disk=options.cache_text_encoder_outputs_to_disk
        )
        self._shared = SharedCaches.of_environment()
        self._done = self._total = 0

    def run(self) -> Encoded:
        """Encodes what the caches lack. Raises TrainerError if a picture, model or tokenizer cannot be used. Ends the
        run if a stop is requested."""
        pictures, captions = self._missing()
        self._total = len(pictures) + len(captions)
        more = self._dataset.many_texts or self._dataset.drops
        needed = captions or self._prompts or self._options.trains_clip or more
        # First, so that a missing tokenizer is reported before all pictures are encoded.
        tokenizers = self._models.load_tokenizers(self._options) if needed else None
        if pictures:
            self._encode_pictures(pictures)
        self._shared.keep(self._latent_files, made=set(map(self._names.latents, pictures)))
        if tokenizers is None:
            self._shared.keep(self._text_files, made=set())
            cached = Texts(cache=self._texts, parts=self._file.parts, encode=None, empty=None, ids=None)
            return Encoded(latents=self._latents, texts=cached, prompts=[], trained=None)
        return self._run_text_encoders(tokenizers, captions)

    def _missing(self) -> tuple[list[Picture], list[Picture]]:
        """The pictures and the captions that have to be encoded, once what other trainings share is in place. Raises
        TrainerError if caches cannot be written beside their pictures."""
        pictures = self._latents.missing(self._dataset.pictures)
        captions = [] if self._dataset.many_texts else self._texts.missing(self._dataset.pictures)
        self._check_folders(pictures, captions)
        wanted = {*map(self._names.latents, pictures), *map(self._names.text, captions)}
        files = self._latent_files | self._text_files
        taken = self._shared.take({file: content for file, content in files.items() if file in wanted})
        if taken:
            print(f"taking {taken} caches that other trainings made", flush=True)
            pictures, captions = self._latents.missing(pictures), self._texts.missing(captions)
        return pictures, captions

    @functools.cached_property
    def _latent_files(self) -> dict[Path, Content]:
        """The caches of latents that trainings share."""
        shares = self._shared.used and self._options.cache_latents_to_disk
        return self._of_latents.contents(self._dataset.pictures) if shares else {}

    @functools.cached_property
    def _text_files(self) -> dict[Path, Content]:
        """The caches of texts that trainings share."""
        on_disk = self._options.cache_text_encoder_outputs_to_disk and not self._dataset.many_texts
        return self._of_texts.contents(self._dataset.pictures) if self._shared.used and on_disk else {}

    def _check_folders(self, pictures: Iterable[Picture], captions: Iterable[Picture]) -> None:
        """Checks the folders of caches on the disk before anything is encoded. Raises TrainerError."""
        if self._options.cache_latents_to_disk:
            cache_file.check_folders(map(self._names.latents, pictures), flag=latent_cache.FLAG)
        if self._options.cache_text_encoder_outputs_to_disk:
            cache_file.check_folders(map(self._names.text, captions), flag=text_cache.FLAG)

    def _run_text_encoders(self, tokenizers: Tokenizers, captions: Sequence[Picture]) -> Encoded:
        """Encodes the captions and the prompts. An encoder is kept if it is trained; all are kept if texts have to be
        encoded at each step."""
        self._metrics.report("loading")
        any_text = captions or self._prompts or self._dataset.many_texts or self._dataset.drops
        encoders = self._models.load_text_encoders(
            tokenizers,
            trained=self._options.trains_clip,
            only_trained=not any_text,
            device=self._device,
            dtype=self._dtype,
        )
        prompts, encode, empty = [], None, None
        if any_text:
            prompts = self._encode_texts(encoders, captions)
            self._shared.keep(self._text_files, made=set(map(self._names.text, captions)))
            empty = encoders.encode("")
            if self._dataset.many_texts:
                print("captions change: the text encoders stay loaded and encode the texts of each step", flush=True)
                # If an encoder is trained, its weights change, so each step runs it on the token ids.
                encode = encoders.encode if encoders.trained is None else encoders.encode_frozen
        texts = Texts(
            cache=self._texts,
            parts=self._file.parts,
            encode=encode,
            empty=empty,
            ids=encoders.ids if encoders.trained is not None else None,
        )
        return Encoded(latents=self._latents, texts=texts, prompts=prompts, trained=encoders.trained)

    def _encode_pictures(self, pictures: Sequence[Picture]) -> None:
        self._metrics.report("loading")
        autoencoder = self._models.load_autoencoder(self._device)
        print(f"caching latents of {len(pictures)} pictures", flush=True)
        self._stop.defer()
        for picture in pictures:
            self._count()
            self._latents.encode(picture, autoencoder)
            self._stop.leave_if_requested()
        self._stop.leave_at_once()

    def _encode_texts(self, encoders: TextEncoders, captions: Sequence[Picture]) -> list[EncodedPrompt]:
        print(f"caching text embeddings of {len(captions)} captions", flush=True)
        self._stop.defer()
        for picture in captions:
            self._count()
            self._texts.keep(picture, encoders.encode(picture.text))
            self._stop.leave_if_requested()
        prompts = []
        for prompt in self._prompts:
            positive = _with_ids(encoders, prompt.text)
            guided = prompt.cfg != 1.0
            negative = _with_ids(encoders, prompt.negative) if guided else None
            prompts.append(EncodedPrompt(prompt=prompt, positive=positive, negative=negative))
            self._stop.leave_if_requested()
        self._stop.leave_at_once()
        return prompts

    def _count(self) -> None:
        """Reports progress before each picture or caption, so that the phase begins with 0 done."""
        self._metrics.report("caching", done=self._done, total=self._total)
        self._done += 1
        debug_hang.here("caching")


def _with_ids(encoders: TextEncoders, text: str) -> Text:
    return {**encoders.encode(text), **encoders.ids(text)}
