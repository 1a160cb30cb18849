# SPDX-License-Identifier: Apache-2.0
"""The Flux transformer in the layout of the published single files (black-forest-labs/flux, src/flux/model.py).

All widths and depths are derived from the shapes in the file, so flux1-dev and the tests' tiny model use the same
code without a config file. Modules have the names of the file's keys. Outputs equal those of diffusers'
FluxTransformer2DModel (tests/sd_scripts/flux/test_model.py).

Shape suffixes:
  B batch, I image tokens, T text tokens, L = T + I, D hidden width, H heads, K width of a head,
  M width of the MLP, P values in a packed latent token (4 C), C latent channels, V pooled text vector,
  X text embedding, F frequencies = K/2
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from library.compute.transformer import Transformer
from library.flux.config import TIME_FREQUENCIES, FluxConfig

ROPE_THETA = 10_000
TIME_FACTOR = 1000.0
EPSILON = 1e-6


def sinusoidal_embedding(t_B: Tensor) -> Tensor:
    """t in [0, 1] -> (B, 256): cosines, then sines, of 1000 t at 128 frequencies. Always fp32."""
    half = TIME_FREQUENCIES // 2
    exponents = torch.arange(half, device=t_B.device, dtype=torch.float32) / half
    frequencies = torch.exp(-math.log(10_000) * exponents)
    angles = (t_B.float() * TIME_FACTOR)[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def rope_tables(ids_L3: Tensor, widths: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Positions (L, 3) -> cosines and sines (L, F), computed in fp64 and kept in fp32."""
    angles = []
    for axis, width in enumerate(widths):
        exponents = torch.arange(0, width, 2, dtype=torch.float64, device=ids_L3.device) / width
        angles.append(ids_L3[:, axis].double()[:, None] / ROPE_THETA**exponents)
    angles_LF = torch.cat(angles, dim=-1)
    return angles_LF.cos().float(), angles_LF.sin().float()


def rotate(x_BHLK: Tensor, cos_LF: Tensor, sin_LF: Tensor) -> Tensor:
    """Rotary embedding on neighbouring pairs, computed in fp32."""
    even, odd = x_BHLK.float().unflatten(-1, (-1, 2)).unbind(-1)
    pairs = torch.stack([even * cos_LF - odd * sin_LF, even * sin_LF + odd * cos_LF], dim=-1)
    return pairs.flatten(-2).to(x_BHLK.dtype)


def attend(q_BHLK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor, cos_LF: Tensor, sin_LF: Tensor) -> Tensor:
    """Attention over all tokens -> (B, L, D)."""
    q_BHLK, k_BHLK = rotate(q_BHLK, cos_LF, sin_LF), rotate(k_BHLK, cos_LF, sin_LF)
    x_BHLK = functional.scaled_dot_product_attention(q_BHLK, k_BHLK, v_BHLK)
    return x_BHLK.transpose(1, 2).flatten(2)


def layer_norm(x: Tensor) -> Tensor:
    """LayerNorm without weights; the modulation takes their place."""
    return functional.layer_norm(x, x.shape[-1:], eps=EPSILON)


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        normed = functional.rms_norm(x.float(), x.shape[-1:], eps=EPSILON)
        return normed.to(x.dtype) * self.scale.to(x.dtype)


class QKNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.query_norm = RMSNorm(width)
        self.key_norm = RMSNorm(width)


class MLPEmbedder(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.in_layer = nn.Linear(width, hidden)
        self.out_layer = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        embedded: Tensor = self.out_layer(functional.silu(self.in_layer(x)))
        return embedded


class Modulation(nn.Module):
    """A vector per picture -> (shift, scale, gate) once or twice, each (B, 1, D)."""

    def __init__(self, hidden: int, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.lin = nn.Linear(hidden, parts * hidden)

    def forward(self, vec_BD: Tensor) -> tuple[Tensor, ...]:
        return self.lin(functional.silu(vec_BD))[:, None].chunk(self.parts, dim=-1)


class SelfAttention(nn.Module):
    def __init__(self, config: FluxConfig) -> None:
        super().__init__()
        self.qkv = nn.Linear(config.hidden, 3 * config.hidden)
        self.norm = QKNorm(config.head_width)
        self.proj = nn.Linear(config.hidden, config.hidden)


def split_heads(qkv_BL3D: Tensor, heads: int, norm: QKNorm) -> tuple[Tensor, Tensor, Tensor]:
    """(B, L, 3 D) -> q, k, v, each (B, H, L, K); q and k are normed."""
    q_BHLK, k_BHLK, v_BHLK = qkv_BL3D.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    return norm.query_norm(q_BHLK), norm.key_norm(k_BHLK), v_BHLK


class DoubleStreamBlock(nn.Module):
    """A block in which image and text have separate weights and a joint attention."""

    def __init__(self, config: FluxConfig) -> None:
        super().__init__()
        self.heads = config.heads
        # In sd-scripts' order: an optimizer's state lists the moments in the order of the modules.
        self.img_mod = Modulation(config.hidden, 6)
        self.img_attn = SelfAttention(config)
        self.img_mlp = _mlp(config)
        self.txt_mod = Modulation(config.hidden, 6)
        self.txt_attn = SelfAttention(config)
        self.txt_mlp = _mlp(config)

    def forward(
        self, img_BID: Tensor, txt_BTD: Tensor, vec_BD: Tensor, cos_LF: Tensor, sin_LF: Tensor
    ) -> tuple[Tensor, Tensor]:
        img_mod, txt_mod = self.img_mod(vec_BD), self.txt_mod(vec_BD)
        img_qkv = self._qkv(img_BID, self.img_attn, img_mod)
        txt_qkv = self._qkv(txt_BTD, self.txt_attn, txt_mod)
        q, k, v = (torch.cat(pair, dim=2) for pair in zip(txt_qkv, img_qkv, strict=True))
        txt_attended, img_attended = attend(q, k, v, cos_LF, sin_LF).split(
            [txt_BTD.shape[1], img_BID.shape[1]], dim=1
        )
        img_BID = _finish_stream(img_BID, img_attended, self.img_attn, self.img_mlp, img_mod)
        txt_BTD = _finish_stream(txt_BTD, txt_attended, self.txt_attn, self.txt_mlp, txt_mod)
        return img_BID, txt_BTD

    def _qkv(
        self, x: Tensor, attention: SelfAttention, modulation: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        shift, scale = modulation[0], modulation[1]
        return split_heads(attention.qkv((1 + scale) * layer_norm(x) + shift), self.heads, attention.norm)


def _mlp(config: FluxConfig) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(config.hidden, config.mlp_hidden),
        nn.GELU(approximate="tanh"),
        nn.Linear(config.mlp_hidden, config.hidden),
    )


def _finish_stream(
    x: Tensor, attended: Tensor, attention: SelfAttention, mlp: nn.Module, modulation: tuple[Tensor, ...]
) -> Tensor:
    _, _, attention_gate, shift, scale, mlp_gate = modulation
    x = x + attention_gate * attention.proj(attended)
    return x + mlp_gate * mlp((1 + scale) * layer_norm(x) + shift)


class SingleStreamBlock(nn.Module):
    """A block on text and image in one sequence. Attention and MLP run in parallel: one Linear gives the inputs of
    both, and one takes the outputs of both."""

    def __init__(self, config: FluxConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.widths = [3 * config.hidden, config.mlp_hidden]
        self.linear1 = nn.Linear(config.hidden, sum(self.widths))
        self.linear2 = nn.Linear(config.hidden + config.mlp_hidden, config.hidden)
        self.norm = QKNorm(config.head_width)
        self.modulation = Modulation(config.hidden, 3)

    def forward(self, x_BLD: Tensor, vec_BD: Tensor, cos_LF: Tensor, sin_LF: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(vec_BD)
        qkv, mlp_BLM = self.linear1((1 + scale) * layer_norm(x_BLD) + shift).split(self.widths, dim=-1)
        attended_BLD = attend(*split_heads(qkv, self.heads, self.norm), cos_LF, sin_LF)
        activated_BLM = functional.gelu(mlp_BLM, approximate="tanh")
        return x_BLD + gate * self.linear2(torch.cat([attended_BLD, activated_BLM], dim=-1))


class LastLayer(nn.Module):
    def __init__(self, config: FluxConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(config.hidden, config.packed_channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(config.hidden, 2 * config.hidden))

    def forward(self, x_BID: Tensor, vec_BD: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(vec_BD)[:, None].chunk(2, dim=-1)
        velocity_BIP: Tensor = self.linear((1 + scale) * layer_norm(x_BID) + shift)
        return velocity_BIP


class Flux(Transformer):
    """Predicts the velocity (noise - picture) of packed latents at noise level t."""

    def __init__(self, config: FluxConfig) -> None:
        super().__init__(config.stacks)
        self.config = config
        self.img_in = nn.Linear(config.packed_channels, config.hidden)
        self.time_in = MLPEmbedder(TIME_FREQUENCIES, config.hidden)
        self.vector_in = MLPEmbedder(config.vector_width, config.hidden)
        if config.guidance:
            self.guidance_in = MLPEmbedder(TIME_FREQUENCIES, config.hidden)
        self.txt_in = nn.Linear(config.text_width, config.hidden)
        self.double_blocks = nn.ModuleList(DoubleStreamBlock(config) for _ in range(config.double_blocks))
        self.single_blocks = nn.ModuleList(SingleStreamBlock(config) for _ in range(config.single_blocks))
        self.final_layer = LastLayer(config)

    def velocity(self, noisy_BChw: Tensor, texts: Mapping[str, Tensor], t_B: Tensor, *, guidance: float) -> Tensor:
        height, width = noisy_BChw.shape[2:]
        # In fp32, whatever the type of the noise levels.
        guidance_B = torch.full(t_B.shape, guidance, device=t_B.device)
        positions_I3 = image_ids(height, width, t_B.device)
        velocity_BIP = self(pack(noisy_BChw), positions_I3, texts["hidden"], texts["pooled"], t_B, guidance_B)
        return unpack(velocity_BIP, height, width)

    def forward(
        self,
        img_BIP: Tensor,
        img_ids_I3: Tensor,
        txt_BTX: Tensor,
        pooled_BV: Tensor,
        t_B: Tensor,
        guidance_B: Tensor,
    ) -> Tensor:
        """Velocity (B, I, P). `t_B` is the noise level in [0, 1]; `guidance_B` is not used by schnell."""
        dtype = self.img_in.weight.dtype
        vec_BD = self.time_in(sinusoidal_embedding(t_B).to(dtype))
        if self.config.guidance:
            vec_BD = vec_BD + self.guidance_in(sinusoidal_embedding(guidance_B).to(dtype))
        vec_BD = vec_BD + self.vector_in(pooled_BV.to(dtype))
        img_BID, txt_BTD = self.img_in(img_BIP.to(dtype)), self.txt_in(txt_BTX.to(dtype))
        tokens = txt_BTD.shape[1]
        ids_L3 = torch.cat([img_ids_I3.new_zeros(tokens, 3), img_ids_I3])
        cos_LF, sin_LF = rope_tables(ids_L3, self.config.rope_widths)
        for index, block in enumerate(self.double_blocks):
            img_BID, txt_BTD = self.run(index, block, img_BID, txt_BTD, vec_BD, cos_LF, sin_LF)
        x_BLD = torch.cat([txt_BTD, img_BID], dim=1)
        for index, block in enumerate(self.single_blocks, len(self.double_blocks)):
            x_BLD = self.run(index, block, x_BLD, vec_BD, cos_LF, sin_LF)
        velocity_BIP: Tensor = self.final_layer(x_BLD[:, tokens:], vec_BD)
        return velocity_BIP


def pack(latents_BChw: Tensor) -> Tensor:
    """Latents (B, C, h, w) -> tokens (B, h/2 * w/2, 4 C): one token for each 2x2 square."""
    batch, channels, height, width = latents_BChw.shape
    squares = latents_BChw.view(batch, channels, height // 2, 2, width // 2, 2)
    return squares.permute(0, 2, 4, 1, 3, 5).reshape(batch, height * width // 4, channels * 4)


def unpack(x_BIP: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `pack`; height and width are those of the latents."""
    batch, _, packed = x_BIP.shape
    squares = x_BIP.view(batch, height // 2, width // 2, packed // 4, 2, 2)
    return squares.permute(0, 3, 1, 4, 2, 5).reshape(batch, packed // 4, height, width)


def image_ids(height: int, width: int, device: torch.device) -> Tensor:
    """Positions (0, row, column) of the tokens of latents of this height and width: (I, 3). Text has zeros."""
    ids = torch.zeros(height // 2, width // 2, 3, device=device)
    ids[..., 1] = torch.arange(height // 2, device=device)[:, None]
    ids[..., 2] = torch.arange(width // 2, device=device)[None, :]
    return ids.view(-1, 3)
