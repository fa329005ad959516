"""DINOv2's Vision Transformers, and a linear head on their patches."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raydg.licence import CommercialUse
from raydg.models.architecture import Architecture
from raydg.models.backbone import Normalisation
from raydg.models.layers import Head
from raydg.models.network import Encoder, Features, Network, Site, bilinear
from raydg.models.timm_backbone import TimmBackbone
from raydg.models.weights import State
from raydg.types import Task

PATCH = 14
EMBEDDING = ("cls_token", "pos_embed", "patch_embed.")


@dataclass(frozen=True)
class DINOv2(TimmBackbone):
    """Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", patches of 14 pixels, no registers,
    as timm has it.

    A file may have timm's key names or the authors', which are the same. Attention is torch's
    scaled_dot_product_attention, of whose kernels only the MATH one has second derivatives. Whether it is frozen or
    finetuned is up to the method. A classifier's decoder is one linear layer on the class token and the mean of the
    patches, as in the authors' linear evaluation.
    """

    size: Literal["S", "B", "L"]
    """ViT-S, ViT-B or ViT-L: 22, 87 or 304 million parameters."""

    normalisation: ClassVar[Normalisation] = "none"
    published: ClassVar[str] = "pretrained"
    terms: ClassVar[tuple[str, CommercialUse]] = ("Apache-2.0", "yes")
    head: ClassVar[tuple[str, ...]] = ("mask_token", "head.")

    @property
    def timm_name(self) -> str:
        return f"vit_{ {'S': 'small', 'B': 'base', 'L': 'large'}[self.size] }_patch14_dinov2.lvd142m"

    @classmethod
    def variants(cls) -> tuple[Self, ...]:
        return cls("S"), cls("B"), cls("L")

    def patches(self) -> "DINOv2Encoder":
        """Encoder, with random weights, whose features are the maps of patches."""
        return DINOv2Encoder(self.create(num_classes=0))

    def classifier(self, num_classes: int) -> tuple[Encoder, nn.Module]:
        encoder = DINOv2Encoder(self.create(num_classes=0), vector=True)
        (channels,) = encoder.channels
        return encoder, Head(nn.Identity(), nn.Linear(channels, num_classes), channels)

    def translate(self, state: State) -> State:
        return {f"embedding.{key}" if key.startswith(EMBEDDING) else key: tensor for key, tensor in state.items()}


class Embedding(nn.Module):
    """Patches and the class token to tokens (b, 1 + h' w', c), their learnt positions added.

    Positions are learnt on a grid of 37 x 37 and interpolated for others, bicubic as in the authors' code, which shifts
    the grid by a tenth of a position more.
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.cls_token, self.pos_embed, self.patch_embed = net.cls_token, net.pos_embed, net.patch_embed
        self.grid = tuple(net.patch_embed.grid_size)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patch_embed.proj(images)
        of_class, of_patches = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        if patches.shape[-2:] != self.grid:
            grid = of_patches.transpose(1, 2).unflatten(2, self.grid)
            grid = F.interpolate(grid, size=patches.shape[-2:], mode="bicubic", align_corners=False)
            of_patches = grid.flatten(2).transpose(1, 2)
        tokens = patches.flatten(2).transpose(1, 2) + of_patches
        return torch.cat([(self.cls_token + of_class).expand(len(tokens), -1, -1), tokens], dim=1)


class DINOv2Encoder(Encoder):
    """The last block's patches after the final norm, as a map (b, c, ceil(h / 14), ceil(w / 14)); with `vector` the
    class token and the mean of the patches, (b, 2 c).

    Images whose sides are no multiples of 14 are first enlarged to the next ones, bilinearly, by less than 14 pixels.
    So the map covers exactly the image, and logits are brought back to its size without a shift. (The authors pad
    with zeros, and their logits come back stretched by the padding.)
    """

    minimum_size = PATCH

    def __init__(self, net: Any, vector: bool = False) -> None:
        super().__init__()
        self.embedding, self.blocks, self.norm = Embedding(net), net.blocks, net.norm
        self.vector = vector
        self.channels = ((2 if vector else 1) * net.embed_dim,)
        quarter = len(self.blocks) // 4
        quarters = [tuple(f"blocks.{first + i}" for i in range(quarter)) for first in range(0, 4 * quarter, quarter)]
        quarters[-1] += ("norm",)
        self.groups = (("embedding", ("embedding",)), *((f"blocks{n}", names) for n, names in enumerate(quarters, 1)))

    def forward(self, images: Tensor) -> Features:
        rows, columns = (-(-side // PATCH) for side in images.shape[-2:])
        if (PATCH * rows, PATCH * columns) != images.shape[-2:]:
            images = bilinear(images, (PATCH * rows, PATCH * columns))
        tokens = self.norm(self.blocks(self.embedding(images)))
        if self.vector:
            return (torch.cat([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=1),)
        return (tokens[:, 1:].transpose(1, 2).unflatten(2, (rows, columns)),)


@dataclass(frozen=True)
class LinearSegmentation(Architecture):
    """DINOv2 with the linear segmentation head of its authors: BatchNorm and a 1x1 convolution on the patches.

    The layers are those of the authors' code (dinov2/eval/segmentation/models/decode_heads/linear_head.py), without
    dropout; logits have stride 14 and are interpolated bilinearly without aligned corners; the convolution starts from
    N(0, 0.01²), as mmsegmentation's do. Only the head has BatchNorm, the encoder has LayerNorm, so adaptations to a
    domain's statistics are refused.
    """

    backbone: DINOv2
    """The encoder and its first weights."""

    task: ClassVar[Task] = "segmentation"

    def assemble(self, num_classes: int) -> Network:
        encoder = self.backbone.patches()
        return Network(encoder, LinearDecoder(encoder.channels[-1], num_classes), upsample=bilinear)


class LinearDecoder(nn.Module):
    """Features to logits (b, k, h', w') at the patches' size. The normalised patches are the site `context`."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.norm, self.context = nn.BatchNorm2d(channels), Site(channels)
        classifier = nn.Conv2d(channels, num_classes, 1)
        nn.init.normal_(classifier.weight, std=0.01)
        if classifier.bias is not None:
            nn.init.zeros_(classifier.bias)
        self.classifier = classifier

    def forward(self, features: Features) -> Tensor:
        return self.classifier(self.context(self.norm(features[-1])))
