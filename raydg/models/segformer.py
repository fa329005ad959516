"""SegFormer: the Mix Transformer and the all-MLP decode head."""

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch.nn.functional as F
from torch import Tensor, nn

from raydg.licence import CommercialUse, Licence
from raydg.models.architecture import Architecture
from raydg.models.backbone import Normalisation
from raydg.models.layers import Head, initialise
from raydg.models.network import Encoder, Features, Network, Site, bilinear
from raydg.models.pretrained_backbone import Library, PretrainedBackbone
from raydg.models.weights import State, reason
from raydg.types import Task

DEPTHS = {
    "B0": (2, 2, 2, 2),
    "B1": (2, 2, 2, 2),
    "B2": (3, 4, 6, 3),
    "B3": (3, 4, 18, 3),
    "B4": (3, 8, 27, 3),
    "B5": (3, 6, 40, 3),
}
"""Blocks of each stage."""

# From the key names of the authors' files, then of the hub's, to those of transformers 5.
RENAMINGS = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        (r"^(?:segformer|backbone)\.", ""),
        (r"^patch_embed([1-4])\.proj\.", r"encoder.patch_embeddings.<\1>.proj."),
        (r"^patch_embed([1-4])\.norm\.", r"encoder.patch_embeddings.<\1>.layer_norm."),
        (r"^norm([1-4])\.", r"encoder.layer_norm.<\1>."),
        (r"^block([1-4])\.(\d+)\.", r"encoder.block.<\1>.\2."),
        (r"^encoder\.patch_embeddings\.(<?\d>?)\.", r"stages.\1.patch_embeddings."),
        (r"^encoder\.layer_norm\.(<?\d>?)\.", r"stages.\1.layer_norm."),
        (r"^encoder\.block\.(<?\d>?)\.", r"stages.\1.blocks."),
        (r"\.(?:norm1|layer_norm_1)\.", ".layernorm_before."),
        (r"\.(?:norm2|layer_norm_2)\.", ".layernorm_after."),
        (r"\.attn\.q\.", ".attention.q_proj."),
        (r"\.attn\.proj\.", ".attention.o_proj."),
        (r"\.attn\.sr\.", ".attention.sequence_reduction.sequence_reduction."),
        (r"\.attn\.norm\.", ".attention.sequence_reduction.layer_norm."),
        (r"\.attention\.self\.query\.", ".attention.q_proj."),
        (r"\.attention\.self\.key\.", ".attention.k_proj."),
        (r"\.attention\.self\.value\.", ".attention.v_proj."),
        (r"\.attention\.self\.sr\.", ".attention.sequence_reduction.sequence_reduction."),
        (r"\.attention\.self\.layer_norm\.", ".attention.sequence_reduction.layer_norm."),
        (r"\.attention\.output\.dense\.", ".attention.o_proj."),
        (r"\.mlp\.dense([12])\.", r".mlp.fc\1."),
    )
)


@dataclass(frozen=True)
class MiT(PretrainedBackbone):
    """The Mix Transformer of Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation with
    Transformers", as transformers has it, stochastic depth of 0.1 included.

    A file may have the key names of transformers 5, of the Hugging Face hub's files, or of the authors' (whose joint
    weights of keys and values are split). LayerNorm's epsilon is 1e-5 throughout, as there; the authors' blocks have
    1e-6. Attention is torch's scaled_dot_product_attention, of whose kernels only the MATH one has second derivatives.
    The decoder of a classifier is global pooling and a linear layer.
    """

    size: Literal["B0", "B1", "B2", "B3", "B4", "B5"]
    """Encoders of 3.3, 13.2, 24.2, 44.1, 60.8 and 81.4 million parameters."""

    normalisation: ClassVar[Normalisation] = "none"
    library: ClassVar[Library] = "transformers"
    terms: ClassVar[tuple[str, CommercialUse]] = (
        "NVIDIA Source Code License for SegFormer: research or evaluation, non-commercial.",
        "no",
    )
    head: ClassVar[tuple[str, ...]] = ("classifier.", "decode_head.", "head.")

    @classmethod
    def variants(cls) -> tuple[Self, ...]:
        return cls("B0"), cls("B1"), cls("B2"), cls("B3"), cls("B4"), cls("B5")

    @property
    def licences(self) -> tuple[Licence, ...]:
        if self.weights in (None, self.published):
            return super().licences
        (licence,) = super().licences
        return (Licence(licence.of, f"{licence.terms} NVIDIA's own weights are for non-commercial use.", "unknown"),)

    def stages(self) -> "MiTEncoder":
        """Encoder, with random weights, whose features are the four stages."""
        segformer = self.imported("transformers.models.segformer")
        first = 32 if self.size == "B0" else 64
        config = segformer.SegformerConfig(
            depths=DEPTHS[self.size], hidden_sizes=(first, 2 * first, 5 * first, 8 * first), drop_path_rate=0.1
        )
        return MiTEncoder(segformer.SegformerModel(config), config.hidden_sizes)

    def classifier(self, num_classes: int) -> tuple[Encoder, nn.Module]:
        encoder = self.stages()
        deepest = encoder.channels[-1]
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return encoder, Head(pool, nn.Linear(deepest, num_classes), deepest)

    def download(self) -> State:
        model = f"nvidia/mit-{self.size.lower()}"
        segformer = self.imported("transformers.models.segformer")
        try:
            return dict(segformer.SegformerModel.from_pretrained(model).state_dict())
        except Exception as error:  # transformers, the hub and its client each raise kinds of their own
            raise ValueError(
                f"The hub's {model} cannot be downloaded or read: {reason(error)}; "
                "put it into the hub's cache by hand, or give the path of a copy as weights."
            ) from error

    def translate(self, state: State) -> State:
        translated = {}
        for key, tensor in state.items():
            for pattern, new in RENAMINGS:
                key = pattern.sub(new, key)
            # The authors count stages from 1.
            key = re.sub(r"<(\d)>", lambda match: str(int(match[1]) - 1), key)
            if ".attn.kv." in key:
                keys, values = tensor.chunk(2)
                translated[key.replace(".attn.kv.", ".attention.k_proj.")] = keys
                translated[key.replace(".attn.kv.", ".attention.v_proj.")] = values
            else:
                translated[key] = tensor
        return translated


class MiTEncoder(Encoder):
    """Features of the four stages: strides 4, 8, 16 and 32. The inputs of the last two are sites."""

    groups = tuple((f"stage{stage + 1}", (f"stages.{stage}",)) for stage in range(4))
    minimum_size = 29  # the first stage's keys and values are maps of 8 x 8 reduced to one position

    def __init__(self, net: Any, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.stages = net.stages
        self.channels = tuple(channels)
        self.before_stage3, self.before_stage4 = Site(self.channels[1]), Site(self.channels[2])

    def forward(self, images: Tensor) -> Features:
        stage1, stage2, stage3, stage4 = self.stages
        maps1 = stage1(images)
        maps2 = stage2(maps1)
        maps3 = stage3(self.before_stage3(maps2))
        return maps1, maps2, maps3, stage4(self.before_stage4(maps3))


@dataclass(frozen=True)
class SegFormer(Architecture):
    """MiT with the all-MLP decode head of its authors.

    Each stage goes linearly to the same channels (256 for B0 and B1, 768 for the others); all at stride 4,
    concatenated from deep to fine, a 1x1 convolution with BatchNorm and ReLU, dropout of whole channels (as in
    mmsegmentation, which the authors' code builds on; transformers drops single elements), and a classifier. All
    interpolation is bilinear without aligned corners. What is new starts from Kaiming's initialisation. DeFT's MiT-B5
    has no recipe. Only the head has BatchNorm, the encoder has LayerNorm, so adaptations to a domain's statistics are
    refused. With 19 classes B0 has 3.72 million parameters and B5 84.6.
    """

    backbone: MiT
    """The encoder and its first weights."""
    dropout: float = 0.1
    """Share of the channels that training drops before the classifier."""

    task: ClassVar[Task] = "segmentation"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(0 <= self.dropout < 1, "dropout", "at least 0 and less than 1")

    def assemble(self, num_classes: int) -> Network:
        encoder = self.backbone.stages()
        channels = 256 if self.backbone.size in ("B0", "B1") else 768
        decoder = SegFormerDecoder(encoder.channels, channels, self.dropout, num_classes)
        initialise(decoder)
        return Network(encoder, decoder, upsample=bilinear)


class SegFormerDecoder(nn.Module):
    """Features to logits (b, k, h', w') at stride 4. The fused maps, after the dropout, are the site `context`.

    The 1x1 convolution `fuse` is applied to each stage's share of its inputs at the stage's own size, and the results
    are interpolated and added: the same sum as after concatenation, since both are linear, at a third of the work.
    """

    def __init__(self, inputs: tuple[int, ...], channels: int, dropout: float, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.ModuleList(nn.Conv2d(of_stage, channels, 1) for of_stage in inputs)
        self.fuse = nn.Conv2d(len(inputs) * channels, channels, 1, bias=False)
        self.norm, self.relu = nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        self.dropout, self.context = nn.Dropout2d(dropout), Site(channels)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Features) -> Tensor:
        from_fine = reversed(self.fuse.weight.chunk(len(features), dim=1))
        fused = [
            F.conv2d(linear(maps), weight)
            for linear, maps, weight in zip(self.linear, features, from_fine, strict=True)
        ]
        total = fused[0]
        for maps in fused[1:]:
            total = total + bilinear(maps, total.shape[-2:])
        return self.classifier(self.context(self.dropout(self.relu(self.norm(total)))))
