"""The authors' own checkpoints in our networks: under what names their code saves, and a loader that takes all or
nothing.

    network = DeepLabV1(ResNet(50)).build(CITYSCAPES_19, pretrained=False)
    load_published(network, "resnet50_gta_alpha_0.1.pth", SELF_ADAPTATION_V1)

Pin the Memory (all its models) and self-adaptation (DeepLabV1 on ResNet-50 and -101, from GTA and from SYNTHIA) have
published such files; TSMLDG and DMG have not, but their code writes them; DeFT has published nothing.
`raydg.importing` makes a checkpoint of one, which is then scored like any other.

What goes in and what comes out agree, so nothing but the names has to be translated. All four codes read RGB, scale it
to [0, 1] by torchvision's `ToTensor` and normalise it by ImageNet's mean and standard deviation, as `Network` does
(TSMLDG: dataset/transforms.py; Pin the Memory: datasets/gtav.py and its like, unless its option image_in is set;
self-adaptation: utils/transforms.py; DMG: train_model.py, and dataloaders/domain_datasets.py, which turns PACS' BGR
around). No map here is of a network that was trained on BGR or on 0 to 255: TSMLDG's code has such backbones ("mit"),
but trains none of its networks on them. The classes come in our order: Cityscapes' trainIds (`CITYSCAPES_19`), the 16
of them that SYNTHIA has (`SYNTHIA_16`: self-adaptation's), PACS (`PACS_7`) and DomainNet (`DOMAINNET_345`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raydg.models.alexnet import AlexNet
from raydg.models.architecture import Architecture
from raydg.models.classifier import Classifier
from raydg.models.deeplabv1 import DeepLabV1
from raydg.models.deeplabv2 import DeepLabV2
from raydg.models.deeplabv3plus import DeepLabV3Plus
from raydg.models.fcn import FCN
from raydg.models.hrnet import HRNet, HRNetV2
from raydg.models.network import IMAGENET_MEAN, IMAGENET_STD, Network
from raydg.models.resnet import ResNet
from raydg.models.weights import NUM_SHOWN, UNREADABLE, State, reason

Names = tuple[tuple[str, str], ...]

# Scores and epochs stand beside the weights in these files, as numpy's scalars: numbers, but torch asks for leave.
# numpy 2 moved the function that makes them; files of both kinds are about.
_SCALAR = np.float64(0).__reduce__()[0]
NUMPY_SCALARS: list[Any] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float32", "float64", "int32", "int64", "bool")),
]


@dataclass(frozen=True)
class PublishedKeys:
    """Where the tensors of an authors' checkpoint belong in a network of ours.

    Names are dotted paths of modules or tensors, without DistributedDataParallel's "module.".
    """

    source: str
    """Whose they are: the repository, and the files in it that build the network and save it."""
    architectures: tuple[Architecture, ...]
    """The networks of ours that compute what theirs does. Strides, dilations and upsampling leave no trace in a state
    dict, so a file fits others too, which then predict something else."""
    names: Names
    """Theirs and ours: a key below the first is the same key below the second. The first row that fits counts."""
    entry: str | None = None
    """Under what key the file has the state dict; None: the file is the state dict."""
    beside: tuple[str, ...] = ()
    """Keys beside `entry`, of a tensor or of a further state dict, that belong to the model, too."""
    between: tuple[str, ...] = ()
    """Modules of theirs that only wrap another; their names are dropped wherever they stand, before `names` apply."""
    unused: Names = ()
    """Names that begin or end a key, and why it is left out if the network has no tensor for it."""
    rolled: tuple[str, ...] = ()
    """Convolutions' weights (c, n c, h, w), by their key, whose last c inputs come first in ours."""
    stacked: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Tensors of ours, and those of theirs, by their keys, that they are the stack of."""

    def check(self, architecture: Architecture) -> None:
        """Raise a ValueError if networks of this architecture do not predict what the authors' do.

        What training alone reads (first weights, auxiliary head, dropout) may differ.
        """
        if _in_evaluation(architecture) not in map(_in_evaluation, self.architectures):
            ours = "; ".join(map(str, self.architectures))
            raise ValueError(f"{self.source}: {architecture} computes something else; these are theirs: {ours}.")

    def within(self, module: str) -> "PublishedKeys":
        """For a model that has the network as the module of this name."""
        return replace(self, names=tuple((theirs, f"{module}.{ours}") for theirs, ours in self.names))

    def ours(self, key: str) -> str | None:
        """Our name for a key of theirs; None if no name fits."""
        key = ".".join(part for part in key.split(".") if part not in self.between)
        for theirs, ours in self.names:
            if key == theirs or key.startswith(f"{theirs}."):
                return ours + key.removeprefix(theirs)
        return None

    def may_be_left_out(self, key: str) -> bool:
        return any(f".{key}.".startswith(f".{n}.") or f".{key}.".endswith(f".{n}.") for n, _ in self.unused)

    def read(self, path: str | Path) -> State:
        """The model's tensors in the file, by their keys there; nothing in the file is executed.

        Raises:
            ValueError: no such file, an unreadable one, or one that is not built as the authors' code builds it.
        """
        if not Path(path).is_file():
            raise ValueError(f"There is no checkpoint {str(path)!r}.")
        try:
            with torch.serialization.safe_globals(NUMPY_SCALARS):
                data = torch.load(path, map_location="cpu", weights_only=True)
        except UNREADABLE as error:
            raise ValueError(f"The checkpoint {str(path)!r} cannot be read: {reason(error)}.") from error
        found = sorted(map(str, data)) if isinstance(data, dict) else [type(data).__name__]
        if self.entry is not None and self.entry not in found:
            raise ValueError(
                f"The checkpoint {str(path)!r} has no {self.entry!r}, where {self.source} has the state dict; it has "
                f"{_first(found)}."
            )
        state = _flat("", data if self.entry is None else data[self.entry])
        for name in self.beside:
            if name in found:
                state.update(_flat(name, data[name]))
        if strangers := [key for key, value in state.items() if not isinstance(value, Tensor)]:
            raise ValueError(
                f"The checkpoint {str(path)!r} has something else than tensors where {self.source} has the state "
                f"dict: {_first(strangers)}."
            )
        return state


def load_published(model: nn.Module, path: str | Path, keys: PublishedKeys) -> State:
    """Fill a network, or a network with what a method has beside it, with the tensors of an authors' checkpoint.

    Every tensor of the file must have its place or a reason to be left out (`PublishedKeys.unused`), every parameter
    and buffer of the model must be filled, and every shape must fit; otherwise nothing is loaded at all. Build the
    network from one of `keys.architectures`.

    Returns:
        What was left out, by the authors' keys.

    Raises:
        ValueError: a file that `keys.read` refuses; keys missing, left over or of another shape, which are named; a
            model without numbers (on the meta device), or that normalises images otherwise than by ImageNet's mean
            and standard deviation.
    """
    wanted = model.state_dict()
    if any(tensor.is_meta for tensor in wanted.values()):
        raise ValueError("The network is on the meta device and holds no numbers: build it on another one.")
    _check_normalisation(model)
    state = keys.read(path)
    # Our name, the name to call it by in a message, and the tensor.
    placed: dict[str, tuple[str, Tensor]] = {}
    for ours, theirs in keys.stacked:
        if all(key in state for key in theirs) and len({state[key].shape for key in theirs}) == 1:
            placed[ours] = (theirs[0], torch.stack([state.pop(key) for key in theirs]))
    left_out, left_over = {}, []
    for key, tensor in state.items():
        ours = keys.ours(key)
        if ours in wanted and ours not in placed:
            placed[ours] = (key, tensor.roll(len(tensor), dims=1) if key in keys.rolled else tensor)
        elif ours not in wanted and keys.may_be_left_out(key):
            left_out[key] = tensor
        else:
            left_over.append(f"{key} {tuple(tensor.shape)}")
    left_over += [f"{key} {tuple(tensor.shape)}" for ours, (key, tensor) in placed.items() if ours not in wanted]
    missing = [f"{ours} {tuple(tensor.shape)}" for ours, tensor in wanted.items() if ours not in placed]
    misshapen = [
        f"{key} {tuple(tensor.shape)} for {ours} {tuple(wanted[ours].shape)}"
        for ours, (key, tensor) in placed.items()
        if ours in wanted and tensor.shape != wanted[ours].shape
    ]
    problems = (
        ("tensors of ours that it does not have", missing),
        ("keys of it that are left over", left_over),
        ("keys of another shape", misshapen),
    )
    if any(names for _, names in problems):
        told = "; ".join(f"{len(names)} {what} ({_first(names)})" for what, names in problems if names)
        raise ValueError(f"The checkpoint {str(path)!r} does not fit, read as {keys.source}: {told}.")
    model.load_state_dict({ours: tensor for ours, (_, tensor) in placed.items()})
    return left_out


def with_masks(keys: PublishedKeys, domains: Iterable[str]) -> PublishedKeys:
    """The keys of a network (`DMG_RESNET`, `DMG_ALEXNET`) and of its masks, for what `DMG.wrap` makes.

    Args:
        keys: of the network alone, which the code's Aggregate baseline saves.
        domains: the sources, as that code calls them ("photo", "art_painting", "cartoon", "sketch"; DomainNet's by
            their folders), in the order of the experiment's sources.

    The same logits give the same masks. Over the sources' masks that code averages logits, the paper probabilities:
    `PredEns.averages`.
    """
    domains = tuple(domains)
    files = {layer: f"{layer}_super_mask" for layer in DMG_SITES}
    return replace(
        keys.within("network"),
        entry="joint_model",
        beside=tuple(files.values()),
        stacked=tuple(
            (f"masks.{DMG_SITES[layer]}", tuple(f"{name}.super_mask_logits.{domain}" for domain in domains))
            for layer, name in files.items()
        ),
    )


def with_memory(keys: PublishedKeys) -> PublishedKeys:
    """The keys of a network (`PIN_THE_MEMORY_V3PLUS`, `PIN_THE_MEMORY_V2`) and of its memory, for what
    `PinTheMemory.wrap` makes; the memory itself lies beside the state dict.

    The published models were evaluated with Gumbel attention (`PinTheMemory.gumbel`) unless their --gumbel_off was set.
    """
    whole = keys.within("network")
    memory = (
        ("memory.output", "output"),
        ("memory.writenet.writefeat", "writer"),
        ("memory.clsfier", "classifier"),
        ("memory", "memory"),  # last, for the others begin with it
    )
    return replace(whole, names=(*whole.names, *memory), beside=("memory",))


def _check_normalisation(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, Network):
            for found, theirs in ((module.mean, IMAGENET_MEAN), (module.std, IMAGENET_STD)):
                if not torch.equal(found.flatten(), found.new_tensor(theirs)):
                    raise ValueError(
                        f"The network normalises images by {found.flatten().tolist()}, the authors' by "
                        f"{list(theirs)}: the same weights would not predict the same."
                    )


def _in_evaluation(architecture: Architecture) -> Architecture:
    """The architecture without what only training reads."""
    neutral = {"auxiliary": False, "dropout": 0.0}
    changes: dict[str, Any] = {f.name: neutral[f.name] for f in fields(architecture) if f.name in neutral}
    if any(f.name == "weights" for f in fields(architecture.backbone)):
        changes["backbone"] = replace(architecture.backbone, weights=None)  # pyright: ignore[reportCallIssue]
    return replace(architecture, **changes)


def _flat(name: str, data: Any) -> dict[str, Any]:
    """A state dict with the name before its keys, or one value under its name."""
    if not isinstance(data, dict):
        return {name: data}
    return {f"{name}.{key}".removeprefix(".").removeprefix("module."): value for key, value in data.items()}


def _first(names: list[str]) -> str:
    return ", ".join(names[:NUM_SHOWN]) + (", ..." if len(names) > NUM_SHOWN else "")


_STAGES: Names = tuple((f"layer{number}", f"encoder.layer{number}") for number in (1, 2, 3, 4))

TSMLDG = PublishedKeys(
    source="koncle/TSMLDG (resnet.py, network/backbone/resnet.py, TSMLDG.py)",
    architectures=(FCN(ResNet(50, stem="3x3")),),
    entry="backbone",
    names=(("backbone", "encoder"), ("x", "decoder.body"), ("seg_classifier", "decoder.classifier")),
    unused=(("backbone.fc", "the classifier of ImageNet's 1000 classes; no forward of the segmentation calls it"),),
)
"""The FCN, in ckpt.pth (the last) and best_city.pth (the best on the target, which its eval.py scores)."""

_PIN_AUXILIARY: Names = (("dsn", "the auxiliary head, for a network built without one; predictions do not read it"),)

PIN_THE_MEMORY_V3PLUS = PublishedKeys(
    source="Genie-Kim/PintheMemory (network/deepv3plus.py, utils/misc.py)",
    # On ResNet-101 that code's forward wants a deep stem which its constructor does not build: there are no files.
    architectures=tuple(replace(DeepLabV3Plus.pin_the_memory(ResNet(50)), output_stride=stride) for stride in (16, 8)),
    entry="state_dict",
    names=(
        ("layer0.0", "encoder.conv1"),
        ("layer0.1", "encoder.bn1"),
        *_STAGES,
        ("aspp.img_conv", "decoder.aspp.branches.0.project"),
        ("aspp.features.0", "decoder.aspp.branches.1"),
        ("aspp.features.1", "decoder.aspp.branches.2"),
        ("aspp.features.2", "decoder.aspp.branches.3"),
        ("aspp.features.3", "decoder.aspp.branches.4"),
        ("bot_aspp", "decoder.aspp.project"),
        ("bot_fine", "decoder.low_level"),
        ("final1.0", "decoder.fuse.0.0"),
        ("final1.1", "decoder.fuse.0.1"),
        ("final1.3", "decoder.fuse.1.0"),
        ("final1.4", "decoder.fuse.1.1"),
        ("final2.0", "decoder.classifier"),
        ("dsn", "decoder.auxiliary.layers"),
    ),
    unused=_PIN_AUXILIARY,
)
"""The baseline's and MLDG's network. With the memory (keys "memory.output", "memory.writenet" and "memory.clsfier", and
the memory itself beside the state dict) see `with_memory`; here such a file is refused: without what is read from it
predictions would differ."""

PIN_THE_MEMORY_V2 = PublishedKeys(
    source="Genie-Kim/PintheMemory (network/deepv2.py, utils/misc.py)",
    architectures=tuple(DeepLabV2.pin_the_memory(ResNet(depth, stride_on="1x1")) for depth in (101, 50)),
    entry="state_dict",
    names=(
        ("layer0.0", "encoder.conv1"),
        ("layer0.1", "encoder.bn1"),
        *_STAGES,
        ("aspp.conv2d_list", "decoder.body.branches"),
        ("final1", "decoder.classifier.0"),
        ("final2.0", "decoder.classifier.1"),
        ("dsn", "decoder.auxiliary.layers"),
    ),
    unused=_PIN_AUXILIARY,
)
"""Likewise for that paper's DeepLabV2."""

_ALPHA = ("alpha", "IaBN's weight of the image, a copy in every layer: give it to the adaptation IaBN, not the network")

SELF_ADAPTATION_V1 = PublishedKeys(
    source="visinf/self-adaptive (models/deeplab.py, models/backbone/resnet.py, train.py)",
    architectures=(DeepLabV1(ResNet(50)), DeepLabV1(ResNet(101))),
    names=(("backbone", "encoder"), ("cls_head", "decoder.classifier")),
    between=("batch_norm",),
    unused=(
        _ALPHA,
        ("backbone.fc", "the classifier of ImageNet's 1000 classes; no forward of the segmentation calls it"),
    ),
)
"""DeepLabV1. Its code predicts with the alpha that the file holds (`load_published` returns it) unless told another."""

SELF_ADAPTATION_V3PLUS = PublishedKeys(
    source="visinf/self-adaptive (models/deeplabv3.py, models/backbone_v3/resnet.py, train.py)",
    architectures=tuple(
        DeepLabV3Plus.self_adaptation(ResNet(depth), stride) for depth in (50, 101) for stride in (8, 16)
    ),
    names=(
        ("model.backbone", "encoder"),
        ("model.classifier.aspp.convs.0", "decoder.aspp.branches.1"),
        ("model.classifier.aspp.convs.1", "decoder.aspp.branches.2"),
        ("model.classifier.aspp.convs.2", "decoder.aspp.branches.3"),
        ("model.classifier.aspp.convs.3", "decoder.aspp.branches.4"),
        ("model.classifier.aspp.convs.4.1", "decoder.aspp.branches.0.project.0"),
        ("model.classifier.aspp.convs.4.2", "decoder.aspp.branches.0.project.1"),
        ("model.classifier.aspp.project", "decoder.aspp.project"),
        ("model.classifier.project", "decoder.low_level"),
        ("model.classifier.classifier.0", "decoder.fuse.0.0"),
        ("model.classifier.classifier.1", "decoder.fuse.0.1"),
        ("model.classifier.classifier.3", "decoder.classifier"),
    ),
    between=("batch_norm",),
    unused=(_ALPHA,),
    # Image pooling is their last branch and our first.
    rolled=("model.classifier.aspp.project.0.weight",),
)
"""DeepLabV3+. The output stride, 8 but for Table 9, is in no file."""

SELF_ADAPTATION_HRNET = PublishedKeys(
    source="visinf/self-adaptive (models/hrnet.py, train.py)",
    architectures=(HRNetV2(HRNet(18)), HRNetV2(HRNet(48))),
    names=(
        ("model.last_layer.0", "decoder.project.0"),
        ("model.last_layer.1", "decoder.project.1"),
        ("model.last_layer.3", "decoder.classifier"),
        ("model", "encoder"),
    ),
    between=("batch_norm",),
    unused=(_ALPHA,),
)
"""HRNet."""

DMG_RESNET = PublishedKeys(
    source="prithv1/DMG (models/basic_model.py, trainers)",
    architectures=(Classifier(ResNet(18)), Classifier(ResNet(50))),
    entry="model",
    names=(("model_ft.fc", "decoder.last"), ("model_ft", "encoder")),
)
"""ResNet, as the Aggregate baseline saves it; for DMG itself see `with_masks`. Multi-Headed has other keys and is
refused."""

DMG_ALEXNET = PublishedKeys(
    source="prithv1/DMG (models/basic_model.py, trainers)",
    architectures=(Classifier(AlexNet()),),
    entry="model",
    names=(("model_ft.classifier.6", "decoder.last"), ("model_ft", "encoder")),
)
"""Likewise for AlexNet."""

DMG_SITES = {
    "layer3": "before_layer3",
    "layer4": "before_layer4",
    "fc": "before_last",
    "classifier.1": "before_fc6",
    "classifier.4": "before_fc7",
    "classifier.6": "before_last",
}
"""DMG's names of the layers whose inputs it masks, ResNet's and AlexNet's, and our sites there."""
