"""InternViT encoder, pixel shuffle, and the connector into the decoder.

Dimension letters: V views, N tokens (1 class token + patches), C channels, G patches a side.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from beingh_core.errors import BeingHError
from beingh_core.model.attention import attend
from beingh_core.model.config import VisionConfig
from beingh_core.model.layers import ACTIVATIONS, RMSNorm


def _norm(config: VisionConfig) -> nn.Module:
    if config.norm_type == "rms_norm":
        return RMSNorm(config.hidden_size, config.eps)
    return nn.LayerNorm(config.hidden_size, eps=config.eps)


class VisionEmbeddings(nn.Module):
    """Patch embedding with a class token in front and learned positions."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.grid = config.image_size // config.patch_size
        self.class_embedding = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.patch_embedding = nn.Conv2d(
            config.num_channels, config.hidden_size, config.patch_size, stride=config.patch_size
        )
        self.position_embedding = nn.Parameter(torch.zeros(1, self.grid**2 + 1, config.hidden_size))

    def _positions(self, rows: int, cols: int) -> Tensor:
        """Position embedding (1, 1 + rows * cols, C), resampled when the image is not the trained size."""
        if rows == cols == self.grid:
            return self.position_embedding
        first, rest = self.position_embedding[:, :1], self.position_embedding[:, 1:]
        square = rest.float().reshape(1, self.grid, self.grid, -1).permute(0, 3, 1, 2)
        square = F.interpolate(square, size=(rows, cols), mode="bicubic", align_corners=False)
        return torch.cat((first, square.flatten(2).transpose(1, 2).to(first.dtype)), dim=1)

    def forward(self, pixels_VCHW: Tensor) -> Tensor:
        """Embeds images (V, C, H, W) as tokens (V, 1 + patches, hidden)."""
        views, channels, height, width = pixels_VCHW.shape
        p, rows, cols = self.patch_size, height // self.patch_size, width // self.patch_size
        patches = pixels_VCHW[:, :, : rows * p, : cols * p].reshape(views, channels, rows, p, cols, p)
        patches = patches.permute(0, 2, 4, 1, 3, 5).reshape(views, rows * cols, channels * p * p)
        conv = self.patch_embedding
        tokens = F.linear(patches, conv.weight.flatten(1), conv.bias)
        tokens = torch.cat((self.class_embedding.to(tokens.dtype).expand(views, -1, -1), tokens), dim=1)
        return tokens + self._positions(rows, cols).to(tokens.dtype)


class VisionAttention(nn.Module):
    """Bidirectional multi-head attention with one fused qkv projection."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=config.qkv_bias)
        self.proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.qk_normalization = config.qk_normalization
        if config.qk_normalization:
            self.q_norm = RMSNorm(config.hidden_size, config.eps)
            self.k_norm = RMSNorm(config.hidden_size, config.eps)

    def forward(self, x: Tensor) -> Tensor:
        """Attends within each view: (V, N, C) to (V, N, C)."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if self.qk_normalization:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)) for t in (q, k, v))
        return self.proj(attend(q, k, v))


class VisionMLP(nn.Module):
    """Two linear layers with the configured activation between."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.act = ACTIVATIONS[config.hidden_act]

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., C) to the same shape."""
        return self.fc2(self.act(self.fc1(x)))


class VisionLayer(nn.Module):
    """Pre-norm block whose two branches are scaled per channel by ls1 and ls2."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.attn = VisionAttention(config)
        self.mlp = VisionMLP(config)
        self.norm1 = _norm(config)
        self.norm2 = _norm(config)
        self.ls1 = nn.Parameter(torch.full((config.hidden_size,), float(config.layer_scale_init)))
        self.ls2 = nn.Parameter(torch.full((config.hidden_size,), float(config.layer_scale_init)))

    def forward(self, x: Tensor) -> Tensor:
        """One block, (V, N, C) to (V, N, C)."""
        x = torch.addcmul(x, self.attn(self.norm1(x)), self.ls1)
        return torch.addcmul(x, self.mlp(self.norm2(x)), self.ls2)


class VisionEncoder(nn.Module):
    """The stack of blocks."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(VisionLayer(config) for _ in range(config.num_layers))


class VisionModel(nn.Module):
    """InternViT up to the selected hidden state; the class token is dropped.

    Args:
        config: Encoder sizes.
        select_layer: Which hidden state to use, counted like a Python index over
            [embeddings, after layer 1, ..., after the last layer].
    """

    def __init__(self, config: VisionConfig, select_layer: int = -1) -> None:
        super().__init__()
        self.embeddings = VisionEmbeddings(config)
        self.encoder = VisionEncoder(config)
        self.depth = select_layer % (config.num_layers + 1)

    def forward(self, pixels_VCHW: Tensor) -> Tensor:
        """Encodes normalised images (V, C, H, W) as patch features (V, patches, hidden)."""
        x = self.embeddings(pixels_VCHW)
        for layer in self.encoder.layers[: self.depth]:
            x = layer(x)
        return x[:, 1:]


def pixel_shuffle(x_VNC: Tensor, ratio: float) -> Tensor:
    """Trades resolution for channels: (V, G * G, C) to (V, (G r)^2, C / r^2), neighbouring patches side by side."""
    views, tokens, channels = x_VNC.shape
    grid = round(tokens**0.5)
    block = round(1 / ratio)
    small = grid // block
    if grid * grid != tokens or small * block != grid:
        raise BeingHError(
            f"{tokens} image patches do not form a square grid whose side is a multiple of {block}",
            where="config.json: vit_config.image_size, patch_size, downsample_ratio",
            remedy=f"choose image_size / patch_size as a multiple of {block}",
        )
    x = x_VNC.reshape(views, small, block, small, block, channels)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(views, small * small, block * block * channels)


class Connector(nn.Module):
    """LayerNorm, Linear, GELU, Linear from shuffled vision features to the decoder's und width."""

    def __init__(self, config: VisionConfig, downsample_ratio: float, out_dim: int) -> None:
        super().__init__()
        width = config.hidden_size * round(1 / downsample_ratio) ** 2
        self.ratio = downsample_ratio
        self.mlp1 = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, out_dim), nn.GELU(), nn.Linear(out_dim, out_dim)
        )

    def forward(self, features_VNC: Tensor) -> Tensor:
        """Maps patch features (V, G * G, C) to image tokens (V, (G r)^2, out_dim)."""
        return self.mlp1(pixel_shuffle(features_VNC, self.ratio))
