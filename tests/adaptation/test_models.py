"""Every adaptation on every small model that fits it, and the error of each that does not."""

import functools

import pytest
import torch
from torch import nn

from raydg.adaptation import TTA, AdaBN, Adaptation, IaBN, MCDropout, SegTTT, TargetNorm, Tent, TrainBN, Views
from raydg.domains.labels import CITYSCAPES_19, PACS_7
from raydg.methods import DMG, PinTheMemory
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

V3PLUS = DeepLabV3Plus(SmallNet(2), aspp_channels=8, low_level_channels=8, decoder_channels=8, dropout=0.1)

MODELS = {
    "DeepLabV1": DeepLabV1(SmallNet(2), dropout=0.1),
    "DeepLabV2": DeepLabV2(SmallNet(2)),
    "DeepLabV3": DeepLabV3(SmallNet(2), aspp_channels=8),
    "DeepLabV3Plus": V3PLUS,
    "HRNetV2": HRNetV2(HRNet(18)),
    "SegFormer": SegFormer(MiT("B0")),
    "Classifier": Classifier(SmallNet(2)),
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
    "MC-Dropout": MCDropout(samples=1),
}


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
    if isinstance(adaptation, SegTTT) and model in CLASSIFY:
        return "SegTTT compares pixels of an image, and this network classifies: take Tent or TTA"
    if adaptation.needs_batchnorm and model in WITHOUT_BATCHNORM:
        return "works through BatchNorm layers and .* has none"
    if isinstance(adaptation, MCDropout) and model not in DROPOUT:
        return "needs dropout layers, and Network has none"
    return None


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("adaptation", ADAPTATIONS)
def test_it_predicts_or_says_why_not(adaptation, model):
    chosen, network = ADAPTATIONS[adaptation], built(model)
    if message := misfit(chosen, model):
        with pytest.raises(ValueError, match=message):
            chosen.predictor(network)
        return
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    predictor = chosen.predictor(network)
    if chosen.needs_fit:
        predictor.fit([image])
    got = predictor(image)
    assert got.shape == ((1, 7) if model in CLASSIFY else (1, 19, 64, 64))
    torch.testing.assert_close(got.sum(1), torch.ones_like(got[:, 0]))


def with_memory() -> nn.Module:
    torch.manual_seed(0)
    model = PinTheMemory().wrap(V3PLUS.build(CITYSCAPES_19), 2, 19)
    nn.init.normal_(model.memory)
    return PinTheMemory().default_inference().module(model, ("a", "b"), None)


def masked(method: DMG) -> nn.Module:
    model = method.wrap(MODELS["DeepLabV1"].build(CITYSCAPES_19), 2, 19)
    return method.default_inference().module(model, ("a", "b"), None)


@pytest.mark.parametrize("adaptation", ADAPTATIONS)
def test_a_network_with_a_memory_is_one_network(adaptation):
    chosen, module = ADAPTATIONS[adaptation], with_memory()
    predictor = chosen.predictor(module)
    image = torch.rand(1, 3, 64, 64)
    if chosen.needs_fit:
        predictor.fit([image])
    assert predictor(image).shape == (1, 19, 64, 64)
    if isinstance(chosen, SegTTT):
        learning = {id(p) for p in predictor.learning}
        assert all(id(p) in learning for p in predictor.network.output.parameters())


@pytest.mark.parametrize("adaptation", ADAPTATIONS)
def test_an_ensemble_predicts_but_does_not_learn_as_one_network(adaptation):
    chosen, module = ADAPTATIONS[adaptation], masked(DMG())
    if isinstance(chosen, SegTTT):
        with pytest.raises(ValueError, match=r"and MaskedEnsemble is none.*take an inference of one network"):
            chosen.predictor(module)
        return
    predictor = chosen.predictor(module)
    image = torch.rand(1, 3, 64, 64)
    if chosen.needs_fit:
        predictor.fit([image])
    assert predictor(image).shape == (1, 19, 64, 64)


@pytest.mark.parametrize(
    ("model", "layers"),
    [("DeepLabV3", 0), ("DeepLabV3", 2), ("DeepLabV3Plus", 1), ("HRNetV2", 1), ("SegFormer", 2)],
)
def test_the_trunk_is_exact_on_every_encoder(model, layers):
    norm = TrainBN() if model in WITHOUT_BATCHNORM else IaBN()
    predictor = SegTTT(norm, HALF, iterations=2, layers=layers, also_after=(1,)).predictor(built(model))
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    fast = predictor.all(image)
    predictor.trunk.modules = []
    assert torch.equal(predictor.all(image), fast)
