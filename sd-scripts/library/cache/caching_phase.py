# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N815 (fields carry their tensors' shapes too)
"""The caching phase: runs the autoencoder and the text encoders once, before the training.

The autoencoder and the text encoders are loaded one after the other, only if something is missing, and released
afterwards. CLIP-L stays if it is trained, and both text encoders stay if the captions' texts vary. A stop takes
effect after the current picture or caption, and at once while an encoder is loading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from library import debug_hang
from library.cache import cache_file, cache_names, latent_cache, text_cache
from library.cache.latent_cache import LatentCache
from library.cache.text_cache import TextCache, TextEmbedding
from library.cache.texts import Texts
from library.data.dataset import Dataset, Picture
from library.data.prompts import Prompt
from library.flux import text_encoders, tokenization
from library.flux.autoencoder import Autoencoder
from library.flux.model_files import ModelFiles
from library.flux.tokenization import Tokenizers
from library.metrics import Metrics
from library.options.options import Options
from library.signals import StopRequest


@dataclass(frozen=True, kw_only=True)
class EncodedText:
    """One text's embedding, and its CLIP token ids, which are needed if CLIP-L is trained."""

    embedding: TextEmbedding
    clip_ids_T: Tensor


@dataclass(frozen=True, kw_only=True)
class EncodedPrompt:
    """A sample's prompt, encoded. `negative` is None if the CFG scale is 1."""

    prompt: Prompt
    positive: EncodedText
    negative: EncodedText | None


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Everything that the training needs from the encoders. `clip` is None unless CLIP-L is trained."""

    latents: LatentCache
    texts: Texts
    prompts: list[EncodedPrompt]
    clip: nn.Module | None


class CachingPhase:
    """The caching phase of one training."""

    def __init__(
        self,
        *,
        options: Options,
        dataset: Dataset,
        prompts: Sequence[Prompt],
        models: ModelFiles,
        t5_length: int,
        device: torch.device,
        dtype: torch.dtype,
        stop: StopRequest,
        metrics: Metrics,
    ) -> None:
        self._options, self._dataset, self._prompts = options, dataset, prompts
        self._models, self._t5_length, self._device, self._dtype = models, t5_length, device, dtype
        self._stop, self._metrics = stop, metrics
        self._latents = LatentCache(autoencoder=options.ae, on_disk=options.cache_latents_to_disk)
        self._texts = TextCache(
            clip=options.clip_l,
            t5=options.t5xxl,
            t5_length=t5_length,
            dtype=dtype,
            on_disk=options.cache_text_encoder_outputs_to_disk,
        )
        self._done = self._total = 0

    def run(self) -> Encoded:
        """Encodes what the caches lack. Raises TrainerError if a picture, model or tokenizer cannot be used. Ends the
        run if a stop is requested."""
        pictures = self._latents.missing(self._dataset.pictures)
        captions = [] if self._dataset.many_texts else self._texts.missing(self._dataset.pictures)
        self._check_folders(pictures, captions)
        self._total = len(pictures) + len(captions)
        more = self._dataset.many_texts or self._dataset.drops
        needed = captions or self._prompts or self._options.trains_clip or more
        # First, so that a missing tokenizer is reported before all pictures are encoded.
        tokenizers = self._load_tokenizers() if needed else None
        if pictures:
            self._encode_pictures(pictures)
        if tokenizers is None:
            cached = Texts(cache=self._texts, encode=None, empty=None, clip_ids=None)
            return Encoded(latents=self._latents, texts=cached, prompts=[], clip=None)
        return self._run_text_encoders(tokenizers, captions)

    def _check_folders(self, pictures: Iterable[Picture], captions: Iterable[Picture]) -> None:
        """Checks the folders of caches on the disk before anything is encoded. Raises TrainerError."""
        if self._options.cache_latents_to_disk:
            cache_file.check_folders(map(cache_names.latents, pictures), flag=latent_cache.FLAG)
        if self._options.cache_text_encoder_outputs_to_disk:
            cache_file.check_folders(map(cache_names.text, captions), flag=text_cache.FLAG)

    def _load_tokenizers(self) -> Tokenizers:
        return tokenization.load(
            cache_dir=self._options.tokenizer_cache_dir,
            models_dir=self._options.clip_l.parent,
            t5_length=self._t5_length,
        )

    def _run_text_encoders(self, tokenizers: Tokenizers, captions: Sequence[Picture]) -> Encoded:
        """Encodes the captions and the prompts. CLIP-L is kept if it is trained; both text encoders are kept if texts
        have to be encoded at each step."""
        self._metrics.report("loading")
        files = self._models
        clip = text_encoders.load_clip(files.clip.path, files.clip.config, self._dtype).to(self._device)
        prompts, encode, empty = [], None, None
        if captions or self._prompts or self._dataset.many_texts or self._dataset.drops:
            t5 = text_encoders.load_t5(files.t5.path, files.t5.config, self._dtype).to(self._device)
            tokenizers.check(clip_vocabulary=clip.vocabulary, t5_vocabulary=t5.vocabulary)
            prompts = self._encode_texts(tokenizers, clip, t5, captions)
            empty = self._encode(tokenizers, clip, t5, "").embedding
            if self._dataset.many_texts:
                print("captions change: the text encoders stay loaded and encode the texts of each step", flush=True)
                encode = self._encoder(tokenizers, clip, t5)
        trained = self._options.trains_clip
        texts = Texts(
            cache=self._texts,
            encode=encode,
            empty=empty,
            clip_ids=(lambda text: tokenizers.clip_ids([text])[0]) if trained else None,
        )
        return Encoded(latents=self._latents, texts=texts, prompts=prompts, clip=clip if trained else None)

    def _encoder(self, tokenizers: Tokenizers, clip: nn.Module, t5: nn.Module) -> Callable[[str], TextEmbedding]:
        """A function that encodes one text.

        If CLIP-L is trained, its weights change, so the step computes the pooled vector from the token ids. The
        function then returns zeros for it, which are not used.
        """
        trained = self._options.trains_clip
        width = self._encode(tokenizers, clip, t5, "").embedding.pooled_V.shape

        @torch.no_grad()
        def encode(text: str) -> TextEmbedding:
            if not trained:
                return self._encode(tokenizers, clip, t5, text).embedding
            t5_ids, t5_mask = tokenizers.t5_ids([text])
            hidden_TX = text_encoders.encode_t5(t5, t5_ids.to(self._device))[0].float().cpu()
            return TextEmbedding(pooled_V=torch.zeros(width), hidden_TX=hidden_TX, t5_mask_T=t5_mask[0])

        return encode

    def _encode_pictures(self, pictures: Sequence[Picture]) -> None:
        self._metrics.report("loading")
        file = self._models.autoencoder
        autoencoder = Autoencoder(file.path, file.config, self._device)
        print(f"caching latents of {len(pictures)} pictures", flush=True)
        self._stop.defer()
        for picture in pictures:
            self._count()
            self._latents.encode(picture, autoencoder)
            self._stop.leave_if_requested()
        self._stop.leave_at_once()

    def _encode_texts(
        self, tokenizers: Tokenizers, clip: nn.Module, t5: nn.Module, captions: Sequence[Picture]
    ) -> list[EncodedPrompt]:
        print(f"caching text embeddings of {len(captions)} captions", flush=True)
        self._stop.defer()
        for picture in captions:
            self._count()
            self._texts.keep(picture, self._encode(tokenizers, clip, t5, picture.text).embedding)
            self._stop.leave_if_requested()
        prompts = []
        for prompt in self._prompts:
            positive = self._encode(tokenizers, clip, t5, prompt.text)
            guided = prompt.cfg != 1.0
            negative = self._encode(tokenizers, clip, t5, prompt.negative) if guided else None
            prompts.append(EncodedPrompt(prompt=prompt, positive=positive, negative=negative))
            self._stop.leave_if_requested()
        self._stop.leave_at_once()
        return prompts

    @torch.no_grad()
    def _encode(self, tokenizers: Tokenizers, clip: nn.Module, t5: nn.Module, text: str) -> EncodedText:
        clip_ids = tokenizers.clip_ids([text])
        t5_ids, t5_mask = tokenizers.t5_ids([text])
        embedding = TextEmbedding(
            pooled_V=text_encoders.encode_clip(clip, clip_ids.to(self._device))[0].float().cpu(),
            hidden_TX=text_encoders.encode_t5(t5, t5_ids.to(self._device))[0].float().cpu(),
            t5_mask_T=t5_mask[0],
        )
        return EncodedText(embedding=embedding, clip_ids_T=clip_ids[0])

    def _count(self) -> None:
        """Reports progress before each picture or caption, so that the phase begins with 0 done."""
        self._metrics.report("caching", done=self._done, total=self._total)
        self._done += 1
        debug_hang.here("caching")
