"""Every adaptation on every small model that fits it, and the error of each that does not."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from raydg.adaptation import (
    ETA,
    SHOT,
    T3A,
    TTA,
    AdaBN,
    Adaptation,
    CoTTA,
    IaBN,
    MCDropout,
    SegTTT,
    TargetNorm,
    Tent,
    TrainBN,
    Views,
)
from raydg.domains.labels import CITYSCAPES_19, IDD_LEVEL1, PACS_7
from raydg.methods import (
    DMG,
    ERM,
    Averaged,
    DeFT,
    DeFTConfiguration,
    Greedy,
    HeadEns,
    Inference,
    KnownDomain,
    KnownHead,
    MaskEns,
    Method,
    MultiHeaded,
    OfAverage,
    OneMask,
    PinTheMemory,
    Plain,
    PredEns,
    WeightedPredEns,
)
from raydg.methods.pin_the_memory import WithMemory
from raydg.models import (
    Classifier,
    DeepLabV1,
    DeepLabV2,
    DeepLabV3,
    DeepLabV3Plus,
    HRNet,
    HRNetV2,
    MiT,
    SegFormer,
    SmallNet,
    SqueezeNet,
)
from raydg.values import subclasses

V3PLUS = DeepLabV3Plus(SmallNet(8), aspp_channels=8, low_level_channels=8, decoder_channels=8, dropout=0.1)

MODELS = {
    "DeepLabV1": DeepLabV1(SmallNet(8), dropout=0.1),
    "DeepLabV2": DeepLabV2(SmallNet(8)),
    "DeepLabV3": DeepLabV3(SmallNet(8), aspp_channels=8),
    "DeepLabV3Plus": V3PLUS,
    "HRNetV2": HRNetV2(HRNet(18)),
    "SegFormer": SegFormer(MiT("B0")),
    "Classifier": Classifier(SmallNet(8)),
    "SqueezeNet": Classifier(SqueezeNet("1.1")),
}
DROPOUT = {"DeepLabV1", "DeepLabV3", "DeepLabV3Plus", "SegFormer", "SqueezeNet"}
WITHOUT_BATCHNORM = {"SegFormer", "SqueezeNet"}
CLASSIFY = {"Classifier", "SqueezeNet"}

HALF = Views((0.5,))
STEP = {"iterations": 1, "learning_rate": 1e-3}
ADAPTATIONS = {
    "t-BN": TrainBN(),
    "TN": TargetNorm(batch_size=1),
    "IaBN": IaBN(),
    "AdaBN": AdaBN(batch_size=1),
    "TTA": TTA(views=HALF),
    "TTA on IaBN": TTA(IaBN(), HALF),
    "Seg-TTT": SegTTT(TrainBN(), HALF, layers=1, **STEP),
    "Seg-TTT on IaBN": SegTTT(views=HALF, **STEP),
    "Seg-TTT, published": SegTTT.reference(views=HALF, **STEP),
    "Tent": Tent(**STEP),
    "Tent on AdaBN": Tent(AdaBN(batch_size=1), mode="online", **STEP),
    "ETA": ETA(IaBN()),
    "CoTTA": CoTTA(views=HALF),
    "MC-Dropout": MCDropout(samples=1),
    "T3A": T3A(),
    "SHOT": SHOT(epochs=1),
}
ONE_NETWORK = SegTTT | CoTTA | T3A | SHOT
"""What works on the parts of one network."""


@functools.cache
def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    network = MODELS[name].build(PACS_7 if name in CLASSIFY else CITYSCAPES_19)
    # Running statistics of something: a deep network without any explodes.
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
    with torch.no_grad():
        network.train()(torch.rand(2, 3, 64, 64))
    return network.eval()


def misfit(adaptation: Adaptation, model: str) -> str | None:
    """What the error says, if there is to be one."""
    assert (MODELS[model].task in adaptation.tasks) != (
        (isinstance(adaptation, SegTTT) and model in CLASSIFY)
        or (isinstance(adaptation, T3A | SHOT) and model not in CLASSIFY)
    )
    if isinstance(adaptation, SegTTT) and model in CLASSIFY:
        return "SegTTT compares pixels of an image, and this network classifies: take Tent or TTA"
    if isinstance(adaptation, T3A | SHOT) and model not in CLASSIFY:
        return "looks at one vector of an image, and this network segments: take SegTTT, CoTTA or TTA"
    if isinstance(adaptation, T3A | SHOT) and model == "SqueezeNet":
        return (
            "needs a classifier that ends in a linear layer on one vector of an image, and this one ends in Sequential"
        )
    if adaptation.needs_batchnorm and model in WITHOUT_BATCHNORM:
        return "works through BatchNorm layers and .* has none"
    if isinstance(adaptation, MCDropout) and model not in DROPOUT:
        return "needs dropout layers, and Network has none"
    return None


IMAGE = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@contextmanager
def named(adaptation: Adaptation) -> Iterator[None]:
    """Says which adaptation failed."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"with {adaptation.label}")
        raise


def check(adaptation: Adaptation, network: nn.Module, shape: tuple[int, ...], message: str | None) -> None:
    """It predicts, or says why not."""
    if message:
        with pytest.raises(ValueError, match=message):
            adaptation.predictor(network)
        return
    predictor = adaptation.predictor(network)
    if adaptation.needs_fit:
        predictor.fit([IMAGE])
    got = predictor(IMAGE)
    assert got.shape == shape
    torch.testing.assert_close(got.sum(1), torch.ones_like(got[:, 0]))


@pytest.mark.parametrize("model", MODELS)
def test_it_predicts_or_says_why_not(model):
    shape = (1, 7) if model in CLASSIFY else (1, 19, 64, 64)
    # HRNet's two thousand modules take long to copy: there one of each kind does.
    one_of_each = {type(adaptation): adaptation for adaptation in ADAPTATIONS.values()}
    for adaptation in (one_of_each if model == "HRNetV2" else ADAPTATIONS).values():
        with named(adaptation):
            check(adaptation, built(model), shape, misfit(adaptation, model))


INFERENCES: dict[type[Inference], tuple[Method, Inference]] = {
    Plain: (ERM(), Plain()),
    WithMemory: (PinTheMemory(), WithMemory()),
    DeFTConfiguration: (DeFT(), DeFTConfiguration()),
    OfAverage: (Averaged(method=PinTheMemory(), ema_rate=0.5), OfAverage(of=WithMemory())),
    PredEns: (DMG(), PredEns()),
    MaskEns: (DMG(), MaskEns()),
    KnownDomain: (DMG(), KnownDomain()),
    OneMask: (DMG(), OneMask(source="b")),
    Greedy: (DMG(), Greedy()),
    WeightedPredEns: (DMG(domain_classifier=True), WeightedPredEns()),
    HeadEns: (MultiHeaded(), HeadEns()),
    KnownHead: (MultiHeaded(), KnownHead()),
}
ENSEMBLES = {PredEns, MaskEns, KnownDomain, OneMask, Greedy, WeightedPredEns, HeadEns, KnownHead}


def test_no_way_to_predict_is_left_out():
    assert set(INFERENCES) == {cls for cls in subclasses(Inference) if cls.__module__.startswith("raydg.")}


def way(cls: type[Inference], task: str) -> nn.Module:
    """A module that predicts in this way, with a network that has dropout if it segments."""
    torch.manual_seed(0)
    segments = task == "segmentation"
    space = IDD_LEVEL1 if segments else PACS_7
    method, inference = INFERENCES[cls]
    model = method.wrap((V3PLUS if segments else MODELS["Classifier"]).build(space), 2, 7)
    for name, buffer in model.named_buffers():
        if name.endswith("memory"):
            nn.init.normal_(buffer)
    return inference.module(model, ("a", "b"), "a")


@pytest.mark.parametrize("task", ["segmentation", "classification"])
@pytest.mark.parametrize("cls", INFERENCES)
def test_every_methods_predictor_predicts_or_says_why_not(cls, task):
    if task == "classification" and cls in (WithMemory, OfAverage):
        pytest.skip("a memory belongs to pixels")
    module = way(cls, task)
    for adaptation in ADAPTATIONS.values():
        message = misfit(adaptation, "DeepLabV3Plus" if task == "segmentation" else "Classifier")
        if isinstance(adaptation, ONE_NETWORK) and cls in ENSEMBLES:
            message = r"and (MaskedEnsemble|HeadEnsemble) is none.*take an inference of one network"
        if isinstance(adaptation, MCDropout) and task == "classification":
            message = "needs dropout layers, and .* has none"
        with named(adaptation):
            check(adaptation, module, (1, 7, 64, 64) if task == "segmentation" else (1, 7), message)


def test_what_a_method_has_beside_the_network_learns_too():
    module = way(WithMemory, "segmentation")
    for adaptation in (ADAPTATIONS["Seg-TTT"], ADAPTATIONS["CoTTA"]):
        predictor = adaptation.predictor(module)
        learning = {id(p) for p in predictor.learning}
        assert all(id(p) in learning for p in predictor.network.output.parameters())


@pytest.mark.parametrize(
    ("model", "layers"),
    [("DeepLabV3", 0), ("DeepLabV3", 2), ("DeepLabV3Plus", 1), ("HRNetV2", 1), ("SegFormer", 2)],
)
def test_the_trunk_is_exact_on_every_encoder(model, layers):
    norm = TrainBN() if model in WITHOUT_BATCHNORM else IaBN()
    predictor = SegTTT(norm, HALF, iterations=1, layers=layers, also_after=(0,)).predictor(built(model))
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    fast = predictor.all(image)
    predictor.trunk.modules = []
    assert torch.equal(predictor.all(image), fast)
