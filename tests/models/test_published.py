"""Authors' checkpoints: their networks, written here from their sources, saved as their code saves them, and ours."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models

from raydg.adaptation import IaBN
from raydg.domains.labels import CITYSCAPES_19, PACS_7, SYNTHIA_16, LabelSpace
from raydg.methods import DMG, PinTheMemory
from raydg.models import FCN, AlexNet, Architecture, Classifier, DeepLabV1, DeepLabV2, DeepLabV3Plus, ResNet
from raydg.models.published import (
    DMG_ALEXNET,
    DMG_RESNET,
    PIN_THE_MEMORY_V2,
    PIN_THE_MEMORY_V3PLUS,
    SELF_ADAPTATION_V1,
    SELF_ADAPTATION_V3PLUS,
    TSMLDG,
    PublishedKeys,
    load_published,
    with_masks,
    with_memory,
)

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def conv_bn(inputs: int, outputs: int, kernel: int, dilation: int = 1) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    return [
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


def resize(maps: Tensor, like: Tensor, aligned: bool) -> Tensor:
    return F.interpolate(maps, size=like.shape[2:], mode="bilinear", align_corners=aligned)


def dilate_conv2(stage: nn.Module, rate: int) -> None:
    """Pin the Memory's way: every conv2 of the stage dilated, every stride 1."""
    for name, module in stage.named_modules():
        if "conv2" in name:
            module.dilation, module.padding, module.stride = (rate, rate), (rate, rate), (1, 1)
        elif "downsample.0" in name:
            module.stride = (1, 1)


class PinNetwork(nn.Module):
    """network/deepv3plus.py (DeepR50V3PlusD) or network/deepv2.py (DeepR50V2D), without memory."""

    def __init__(self, version: str) -> None:
        super().__init__()
        net = models.resnet50()
        self.layer0 = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        self.layer1, self.layer2, self.layer3, self.layer4 = net.layer1, net.layer2, net.layer3, net.layer4
        self.version = version
        self.aspp = nn.Module()
        if version == "v3plus":
            dilate_conv2(self.layer4, 2)
            self.aspp.features = nn.ModuleList(
                [nn.Sequential(*conv_bn(2048, 256, 1))]
                + [nn.Sequential(*conv_bn(2048, 256, 3, rate)) for rate in (6, 12, 18)]
            )
            self.aspp.img_conv = nn.Sequential(*conv_bn(2048, 256, 1))
            self.bot_fine = nn.Sequential(*conv_bn(256, 48, 1))
            self.bot_aspp = nn.Sequential(*conv_bn(1280, 256, 1))
            self.final1 = nn.Sequential(*conv_bn(304, 256, 3), *conv_bn(256, 256, 3))
        else:
            self.layer2[0].conv1.stride, self.layer2[0].conv2.stride = (2, 2), (1, 1)
            dilate_conv2(self.layer3, 2)
            dilate_conv2(self.layer4, 4)
            self.aspp.conv2d_list = nn.ModuleList(
                nn.Sequential(*conv_bn(2048, 256, 3, rate)) for rate in (6, 12, 18, 24)
            )
            self.final1 = nn.Sequential(*conv_bn(256, 256, 3))
        self.final2 = nn.Sequential(nn.Conv2d(256, 19, 1))
        self.dsn = nn.Sequential(
            nn.Conv2d(1024, 512, 3, padding=1), nn.BatchNorm2d(512), nn.ReLU(), nn.Dropout2d(0.1), nn.Conv2d(512, 19, 1)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.layer1(self.layer0(images))
        middle = self.layer3(self.layer2(fine))
        deep = self.layer4(middle)
        if self.version == "v3plus":
            out = resize(self.aspp.img_conv(F.adaptive_avg_pool2d(deep, 1)), deep, True)
            for branch in self.aspp.features:
                out = torch.cat((out, branch(deep)), 1)
            out = torch.cat([self.bot_fine(fine), resize(self.bot_aspp(out), fine, True)], 1)
        else:
            out = sum(branch(deep) for branch in self.aspp.conv2d_list)
        return resize(self.final2(self.final1(out)), images, True), resize(self.dsn(middle), images, True)


class TSMLDGNetwork(nn.Module):
    """resnet.py on network/backbone/resnet.py's resnet50_enc: the ImageNet classifier stays in the state dict."""

    def __init__(self) -> None:
        super().__init__()
        net = models.resnet50(replace_stride_with_dilation=[False, True, True])
        net.conv1 = nn.Sequential(
            *(nn.Conv2d(3, 64, 3, 2, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()),
            *conv_bn(64, 64, 3),
            nn.Conv2d(64, 128, 3, 1, 1, bias=False),
        )
        net.bn1 = nn.BatchNorm2d(128)
        net.layer1[0].conv1 = nn.Conv2d(128, 64, 1, bias=False)
        net.layer1[0].downsample[0] = nn.Conv2d(128, 256, 1, bias=False)
        self.backbone = net
        self.x = nn.Sequential(*conv_bn(2048, 512, 3), nn.Dropout2d(0.1, False))
        self.seg_classifier = nn.Conv2d(512, 19, 1)

    def forward(self, images: Tensor) -> Tensor:
        net = self.backbone
        maps = net.maxpool(net.relu(net.bn1(net.conv1(images))))
        maps = net.layer4(net.layer3(net.layer2(net.layer1(maps))))
        return resize(self.seg_classifier(self.x(maps)), images, True)


class SelfAdaptiveNorm(nn.Module):
    """utils/self_adapt_norm.py in evaluation mode, on batches of one."""

    def __init__(self, norm: nn.BatchNorm2d, alpha: float) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(alpha), requires_grad=False)
        self.batch_norm = norm

    def forward(self, maps: Tensor) -> Tensor:
        mean, var = maps.mean((0, 2, 3)), maps.var((0, 2, 3), unbiased=False)
        a, norm = self.alpha, self.batch_norm
        mean, var = (1 - a) * norm.running_mean + a * mean, (1 - a) * norm.running_var + a * var
        maps = (maps - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
        return maps * norm.weight[:, None, None] + norm.bias[:, None, None]


def replace_norms(module: nn.Module, alpha: float) -> None:
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, SelfAdaptiveNorm(child, alpha))
        else:
            replace_norms(child, alpha)


class SelfAdaptiveV1(nn.Module):
    """models/deeplab.py on models/backbone/resnet.py: the first blocks of layer3 and layer4 are not dilated."""

    def __init__(self, alpha: float, num_classes: int) -> None:
        super().__init__()
        net = models.resnet50(replace_stride_with_dilation=[False, True, True])
        net.layer3[0].conv2.dilation = net.layer3[0].conv2.padding = (1, 1)
        net.layer4[0].conv2.dilation = net.layer4[0].conv2.padding = (1, 1)
        self.backbone = net
        self.cls_head = nn.Conv2d(2048, num_classes, 1)
        replace_norms(self, alpha)

    def forward(self, images: Tensor) -> Tensor:
        net = self.backbone
        maps = net.maxpool(net.relu(net.bn1(net.conv1(images))))
        return resize(self.cls_head(net.layer4(net.layer3(net.layer2(net.layer1(maps))))), images, True)


class SelfAdaptiveV3Plus(nn.Module):
    """models/deeplabv3.py at output stride 8: its backbone has no classifier, its ASPP pools last."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        net = models.resnet50(replace_stride_with_dilation=[False, True, True])
        parts = {name: module for name, module in net.named_children() if name not in ("avgpool", "fc")}
        pooling = nn.Sequential(nn.AdaptiveAvgPool2d(1), *conv_bn(2048, 256, 1))
        aspp = nn.Module()
        branches = [nn.Sequential(*conv_bn(2048, 256, 1))]
        branches += [nn.Sequential(*conv_bn(2048, 256, 3, rate)) for rate in (12, 24, 36)]
        aspp.convs = nn.ModuleList([*branches, pooling])
        aspp.project = nn.Sequential(*conv_bn(1280, 256, 1), nn.Dropout(0.1))
        head = nn.Module()
        head.project = nn.Sequential(*conv_bn(256, 48, 1))
        head.aspp = aspp
        head.classifier = nn.Sequential(*conv_bn(304, 256, 3), nn.Conv2d(256, 19, 1))
        self.model = nn.Module()
        self.model.backbone, self.model.classifier = nn.ModuleDict(parts), head
        replace_norms(self, alpha)

    def forward(self, images: Tensor) -> Tensor:
        net, head = self.model.backbone, self.model.classifier
        fine = net["layer1"](net["maxpool"](net["relu"](net["bn1"](net["conv1"](images)))))
        deep = net["layer4"](net["layer3"](net["layer2"](fine)))
        branches = [resize(branch(deep), deep, False) for branch in head.aspp.convs]
        context = resize(head.aspp.project(torch.cat(branches, 1)), fine, False)
        return resize(head.classifier(torch.cat([head.project(fine), context], 1)), images, False)


class DMGNetwork(nn.Module):
    """models/basic_model.py."""

    def __init__(self, build: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.model_ft = build(num_classes=7)

    def forward(self, images: Tensor) -> Tensor:
        return self.model_ft(images)


def optimizer_state(model: nn.Module) -> dict[str, Any]:
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9).state_dict()


def save_tsmldg(model: nn.Module, path: Path) -> None:
    """TSMLDG.py, in the format of torch 1.2."""
    score = np.float64(0.25)
    state = {"backbone": nn.DataParallel(model).state_dict(), "opt": optimizer_state(model), "epoch": 4, "best": score}
    state["info"] = [0, 0, np.int64(1), score, 0, 3]
    torch.save(state, path, _use_new_zipfile_serialization=False)


def save_pin(model: nn.Module, path: Path) -> None:
    """utils/misc.py."""
    state = {"state_dict": nn.DataParallel(model).state_dict(), "optimizer": optimizer_state(model)}
    torch.save({**state, "scheduler": {"lr_lambdas": [None]}, "epoch": 40, "mean_iu": np.float64(0.35)}, path)


def save_self_adaptation(model: nn.Module, path: Path) -> None:
    """train.py."""
    torch.save(nn.DataParallel(model).state_dict(), path)


def save_dmg(model: nn.Module, path: Path) -> None:
    """trainers/aggregate_trainer.py."""
    torch.save({"model": model.state_dict(), "optimizer": {}, "epoch": 20, "iteration": 3}, path)


@dataclass(frozen=True)
class Case:
    build: Callable[[], nn.Module]
    save: Callable[[nn.Module, Path], None]
    architecture: Architecture
    keys: PublishedKeys
    label_space: LabelSpace = CITYSCAPES_19
    left_out: tuple[str, ...] = ()


PIN_V3PLUS = Case(
    lambda: PinNetwork("v3plus"), save_pin, DeepLabV3Plus.pin_the_memory(ResNet(50)), PIN_THE_MEMORY_V3PLUS
)
PIN_V2 = Case(
    lambda: PinNetwork("v2"),
    save_pin,
    DeepLabV2.pin_the_memory(ResNet(50, stride_on="1x1")),
    PIN_THE_MEMORY_V2,
)
FC = ("backbone.fc.weight", "backbone.fc.bias")
CASES = {
    "pin-v3plus": PIN_V3PLUS,
    "pin-v2": PIN_V2,
    "tsmldg": Case(TSMLDGNetwork, save_tsmldg, FCN(ResNet(50, stem="3x3")), TSMLDG, left_out=FC),
    "self-adaptation-v3plus": Case(
        lambda: SelfAdaptiveV3Plus(0.0),
        save_self_adaptation,
        DeepLabV3Plus.self_adaptation(ResNet(50)),
        SELF_ADAPTATION_V3PLUS,
    ),
    "dmg-resnet18": Case(lambda: DMGNetwork(models.resnet18), save_dmg, Classifier(ResNet(18)), DMG_RESNET, PACS_7),
}


def drawn(build: Callable[[], nn.Module], thin: bool = False) -> nn.Module:
    """Their network in evaluation mode, with random weights and statistics of which none can be mistaken for another.

    With `thin`, every matrix repeats one row, which alone is stored and saved: AlexNet's fill 230 MB.
    """
    torch.manual_seed(1)
    with torch.device("meta"):
        model = build()
    state = {}
    for key, tensor in model.state_dict().items():
        if tensor.dtype == torch.int64:
            state[key] = torch.tensor(7)
        elif key.endswith("alpha"):
            state[key] = torch.tensor(0.0)
        elif tensor.ndim == 1:
            low, high = (-0.2, 0.2) if key.endswith(("bias", "running_mean")) else (0.5, 1.5)
            state[key] = torch.empty(tensor.shape).uniform_(low, high)
        else:
            spread = (6 / tensor[0].numel()) ** 0.5
            shape = (1, *tensor.shape[1:]) if thin and tensor.ndim == 2 else tensor.shape
            state[key] = torch.empty(shape).uniform_(-spread, spread).expand(tensor.shape)
    model.load_state_dict(state, assign=True)
    return model.eval()


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


@pytest.fixture(autouse=True)
def uninitialised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the seconds that first weights take: a file fills every one of them, or the test is about none."""
    for name in ("kaiming_normal_", "kaiming_uniform_", "trunc_normal_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *_, **__: tensor)


@pytest.fixture
def file(tmp_path: Path):
    yield tmp_path / "theirs.pth"
    # Up to 180 MB, and pytest keeps its folders.
    (tmp_path / "theirs.pth").unlink(missing_ok=True)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@torch.no_grad()
def test_the_same_weights_predict_the_same(case: Case, file: Path) -> None:
    theirs = drawn(case.build)
    case.save(theirs, file)
    case.keys.check(case.architecture)
    network = case.architecture.build(case.label_space, pretrained=False)
    left_out = load_published(network, file, case.keys)
    assert {key for key in left_out if not key.endswith("alpha")} == set(case.left_out)
    images = torch.rand(1, 3, 49, 97)  # 4 x 7 positions at stride 16
    expected = theirs((images - MEAN) / STD)
    network.eval()
    if isinstance(expected, tuple):
        logits, auxiliary = network.with_auxiliary(images)
        assert_same(auxiliary, expected[1])
        assert_same(logits, expected[0])
    else:
        assert_same(network(images), expected)
    assert expected[0].std() > 0
    counters = [tensor for key, tensor in network.state_dict().items() if key.endswith("num_batches_tracked")]
    assert counters and all(int(counter) == 7 for counter in counters)


@torch.no_grad()
def test_alexnet_predicts_the_same(file: Path) -> None:
    theirs = drawn(lambda: DMGNetwork(models.alexnet), thin=True)
    save_dmg(theirs, file)
    network = Classifier(AlexNet()).build(PACS_7, pretrained=False).eval()
    assert load_published(network, file, DMG_ALEXNET) == {}
    images = torch.rand(2, 3, 64, 80)
    assert_same(network(images), theirs((images - MEAN) / STD))


@torch.no_grad()
def test_self_adaptations_network_and_its_alpha_which_is_for_iabn(file: Path) -> None:
    """Its code predicts with the alpha of the file; the network alone is that code's with alpha 0."""
    theirs = drawn(lambda: SelfAdaptiveV1(0.0, 16))
    norms = [module for module in theirs.modules() if isinstance(module, SelfAdaptiveNorm)]
    for norm in norms:
        norm.alpha.fill_(0.25)
    save_self_adaptation(theirs, file)
    network = DeepLabV1(ResNet(50)).build(SYNTHIA_16, pretrained=False).eval()
    left_out = load_published(network, file, SELF_ADAPTATION_V1)
    alphas = [float(tensor) for key, tensor in left_out.items() if key.endswith(".alpha")]
    assert len(alphas) == len(norms) == 53 and set(alphas) == {0.25}
    assert {key for key in left_out if not key.endswith(".alpha")} == set(FC)

    images = torch.rand(1, 3, 49, 65)
    expected = theirs((images - MEAN) / STD).softmax(1)
    torch.testing.assert_close(IaBN(alphas[0]).predictor(network)(images), expected, rtol=0, atol=1e-4)
    for norm in norms:
        norm.alpha.zero_()
    plain = theirs((images - MEAN) / STD)
    assert_same(network(images), plain)
    assert (plain.softmax(1) - expected).abs().max() > 0.01


DOMAINS = ("photo", "cartoon", "sketch")


def masks_of(sites: dict[str, int], domains: tuple[str, ...] = DOMAINS) -> dict[str, dict[str, Tensor]]:
    """models/supermasks.py: the state dict of every masked layer's module."""
    return {
        f"{layer}_super_mask": {f"super_mask_logits.{domain}": torch.randn(size) for domain in domains}
        for layer, size in sites.items()
    }


def save_masked(state: dict[str, Tensor], masks: dict[str, dict[str, Tensor]], path: Path) -> None:
    """trainers/subnetwork_supermask_trainer.py."""
    scores = {"overall": np.float64(0.5), "photo": 0.5}
    layers = [name.removesuffix("_super_mask") for name in masks]
    beside = {"model_optimizer": {}, "mask_optimizer": {}, "mask_layers": layers, "acc_on_val": scores, "epoch": 3}
    torch.save({"joint_model": state, **beside, **masks}, path)


@torch.no_grad()
def test_dmgs_masks_belong_to_their_domains_and_layers(file: Path) -> None:
    theirs = drawn(lambda: DMGNetwork(models.resnet18))
    layers = {"layer3": 128, "layer4": 256, "fc": 512}
    masks = masks_of(layers)
    save_masked(theirs.state_dict(), masks, file)
    order = ("sketch", "photo", "cartoon")
    model = DMG().wrap(Classifier(ResNet(18)).build(PACS_7, pretrained=False), 3, 7)
    assert load_published(model, file, with_masks(DMG_RESNET, order)) == {}
    model.eval()

    def times(units: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda maps: maps * (units.sigmoid() if maps.ndim == 2 else units.sigmoid()[:, None, None])

    images = torch.rand(2, 3, 64, 80)
    net = theirs.model_ft
    stem = net.layer2(net.layer1(net.maxpool(net.relu(net.bn1(net.conv1((images - MEAN) / STD))))))
    for number, domain in enumerate(order):
        by3, by4, by_fc = (times(masks[f"{layer}_super_mask"][f"super_mask_logits.{domain}"]) for layer in layers)
        expected = net.fc(by_fc(net.avgpool(net.layer4(by4(net.layer3(by3(stem))))).flatten(1)))
        with model.network.transformed({site: times(logits[number]) for site, logits in model.masks.items()}):
            assert_same(model.network(images), expected)


@torch.no_grad()
def test_alexnets_masks_lie_before_its_linear_layers(file: Path) -> None:
    masks = masks_of({"classifier.4": 4096, "classifier.6": 4096})
    save_masked(hollow(lambda: DMGNetwork(models.alexnet)), masks, file)
    model = DMG(sites=("before_fc7", "before_last")).wrap(Classifier(AlexNet()).build(PACS_7, pretrained=False), 3, 7)
    load_published(model, file, with_masks(DMG_ALEXNET, DOMAINS))
    for site, layer in (("before_fc7", "classifier.4"), ("before_last", "classifier.6")):
        expected = torch.stack([masks[f"{layer}_super_mask"][f"super_mask_logits.{d}"] for d in DOMAINS])
        assert torch.equal(model.masks[site], expected)


def test_masks_of_other_domains_or_layers_are_refused(file: Path) -> None:
    save_masked(hollow(lambda: DMGNetwork(models.resnet18)), masks_of({"layer4": 256, "fc": 512}), file)
    network = Classifier(ResNet(18)).build(PACS_7, pretrained=False)
    with pytest.raises(
        ValueError, match=r"no 'model', .* it has acc_on_val, epoch, fc_super_mask, joint_model, \.\.\."
    ):
        load_published(network, file, DMG_RESNET)
    at_all = DMG().wrap(network, 3, 7)
    with pytest.raises(
        ValueError, match=r"1 tensors of ours that it does not have \(masks\.before_layer3 \(3, 128\)\)"
    ):
        load_published(at_all, file, with_masks(DMG_RESNET, DOMAINS))
    at_two = DMG(sites=("before_layer4", "before_last")).wrap(network, 2, 7)
    with pytest.raises(ValueError, match=r"left over \(layer4_super_mask\.super_mask_logits\.photo \(256,\), "):
        load_published(at_two, file, with_masks(DMG_RESNET, ("photo", "art_painting")))
    with pytest.raises(ValueError, match=r"left over \(layer4_super_mask\.super_mask_logits\.sketch \(256,\), "):
        load_published(at_two, file, with_masks(DMG_RESNET, ("photo", "cartoon")))
    at_one = DMG(sites=("before_last",)).wrap(network, 3, 7)
    with pytest.raises(
        ValueError, match=r"1 keys of it that are left over \(layer4_super_mask\.super_mask_logits\.photo \(3, 256\)\)"
    ):
        load_published(at_one, file, with_masks(DMG_RESNET, DOMAINS))


def hollow(build: Callable[[], nn.Module]) -> dict[str, Tensor]:
    """The exact keys and shapes of their network, all zeros, in next to no bytes."""
    with torch.device("meta"):
        state = build().state_dict()
    return {key: torch.zeros((), dtype=t.dtype).expand(t.shape) for key, t in state.items()}


def test_a_file_with_the_memory_is_no_network_without_it(file: Path) -> None:
    state = hollow(PIN_V3PLUS.build)
    state["memory.output.0.weight"] = torch.zeros(()).expand(256, 512, 1, 1)
    torch.save({"state_dict": state, "memory": torch.zeros(19, 256)}, file)
    network = PIN_V3PLUS.architecture.build(CITYSCAPES_19, pretrained=False)
    with pytest.raises(
        ValueError, match=r"1 keys of it that are left over \(memory\.output\.0\.weight \(256, 512, 1, 1"
    ):
        load_published(network, file, PIN_THE_MEMORY_V3PLUS)


class PinWithMemory(PinNetwork):
    """network/memory.py (Memory_sup) behind bot_aspp, reading with --gumbel_off."""

    def __init__(self) -> None:
        super().__init__("v3plus")
        self.memory = nn.Module()
        self.memory.output = nn.Sequential(*conv_bn(512, 256, 1))
        self.memory.writenet = nn.Module()
        self.memory.writenet.writefeat = nn.Sequential(nn.Conv2d(256, 256, 1, bias=False), nn.BatchNorm2d(256))
        self.memory.clsfier = nn.Linear(256, 19)

    def read(self, features: Tensor, items: Tensor) -> Tensor:
        b, d, h, w = features.shape
        query = F.normalize(features, dim=1).permute(0, 2, 3, 1).reshape(-1, d)
        attention = (query @ items.T).softmax(1)
        joined = torch.cat((query, attention @ items), 1).view(b, h, w, 2 * d).permute(0, 3, 1, 2)
        return self.memory.output(joined.contiguous())

    def predict(self, images: Tensor, items: Tensor) -> Tensor:
        handle = self.bot_aspp.register_forward_hook(lambda module, given, made: self.read(made, items))
        logits, _ = self(images)
        handle.remove()
        return logits


def test_a_published_memory_predicts_the_same(file: Path) -> None:
    theirs = drawn(PinWithMemory)
    items = F.normalize(torch.randn(19, 256), dim=1)
    state = nn.DataParallel(theirs).state_dict()
    torch.save({"state_dict": state, "memory": items, "mean_iu": np.float64(0.44)}, file)
    network = PIN_V3PLUS.architecture.build(CITYSCAPES_19, pretrained=False)
    model = PinTheMemory().wrap(network, 2, 19).eval()
    assert load_published(model, file, with_memory(PIN_THE_MEMORY_V3PLUS)) == {}
    images = torch.rand(1, 3, 65, 97)
    with torch.no_grad():
        expected = theirs.predict((images - network.mean) / network.std, items)
        assert_same(model(images), expected)
        assert not torch.allclose(network(images), expected, rtol=1e-2), "the memory must show"


def test_the_auxiliary_head_may_be_left_out_and_nothing_else(file: Path) -> None:
    state = hollow(PIN_V2.build)
    torch.save({"state_dict": state}, file)
    plain = replace(PIN_V2.architecture, auxiliary=False).build(CITYSCAPES_19, pretrained=False)
    left_out = load_published(plain, file, PIN_THE_MEMORY_V2)
    assert {key.split(".")[0] for key in left_out} == {"dsn"} and len(left_out) == 9
    assert not any(parameter.any() for parameter in plain.parameters())


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(2, 3), nn.Linear(3, 2)
        for parameter in self.parameters():
            nn.init.constant_(parameter, 5.0)


TINY = PublishedKeys("nobody/nothing", (), (("a", "one"), ("b.c", "two")), "net", unused=(("spare", "no reason"),))


def tiny(**changes: Tensor | None) -> dict[str, Tensor]:
    state = {"a.weight": torch.ones(3, 2), "a.bias": torch.ones(3), "b.c.weight": torch.ones(2, 3)}
    state["b.c.bias"] = torch.ones(2)
    return {key: value for key, value in {**state, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            tiny(**{"b.c.bias": None}),
            r"nobody/nothing: 1 tensors of ours that it does not have \(two\.bias \(2,\)\)\.$",
        ),
        (tiny(extra=torch.ones(4)), r"nothing: 1 keys of it that are left over \(extra \(4,\)\)\.$"),
        # A name is whole or it does not fit.
        (tiny(**{"ab.weight": torch.ones(1)}), r"left over \(ab\.weight \(1,\)\)"),
        (tiny(**{"one.weight": torch.ones(3, 2)}), r"left over \(one\.weight \(3, 2\)\)"),
        (tiny(**{"a.bias": torch.ones(2)}), r"1 keys of another shape \(a\.bias \(2,\) for one\.bias \(3,\)\)\.$"),
        (
            {f"x{number}": torch.ones(1) for number in range(6)},
            r"4 tensors .*two\.bias \(2,\)\); 6 keys .*\(x0 \(1,\), x1 \(1,\), x2 \(1,\), x3 \(1,\), \.\.\.\)",
        ),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_loaded(state: dict[str, Tensor], message: str, file: Path) -> None:
    torch.save({"net": state}, file)
    model = Pair()
    with pytest.raises(ValueError, match=message):
        load_published(model, file, TINY)
    assert all((parameter == 5).all() for parameter in model.parameters())


def test_two_keys_for_one_place_are_refused(file: Path) -> None:
    torch.save({"net": tiny(**{"a.wrapped.bias": torch.zeros(3)})}, file)
    with pytest.raises(ValueError, match=r"1 keys of it that are left over \(a\.wrapped\.bias \(3,\)\)"):
        load_published(Pair(), file, replace(TINY, between=("wrapped",)))


def test_a_tensor_beside_the_state_dict_belongs_to_the_model(file: Path) -> None:
    """As Pin the Memory's memory does; what no one names beside it, such as an optimiser's state, does not."""
    torch.save({"net": tiny(**{"b.c.bias": None}), "memory": torch.full((2,), 4.0), "optimizer": {"lr": 1}}, file)
    model = Pair()
    with pytest.raises(ValueError, match=r"does not have \(two\.bias"):
        load_published(model, file, TINY)
    load_published(model, file, replace(TINY, names=(*TINY.names, ("memory", "two.bias")), beside=("memory",)))
    assert model.two.bias.tolist() == [4.0, 4.0] and bool((model.one.weight == 1).all())


def test_left_out_is_what_has_a_reason(file: Path) -> None:
    torch.save({"net": tiny(**{"spare.bias": torch.ones(1), "a.spare": torch.ones(1)})}, file)
    assert set(load_published(Pair(), file, TINY)) == {"spare.bias", "a.spare"}


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, r"There is no checkpoint"),
        (lambda path: path.write_text("<html>"), r"cannot be read: "),
        (lambda path: torch.save({"net": {"a": print}}, path), r"cannot be read: UnpicklingError"),
        (lambda path: torch.save({"model": tiny()}, path), r"no 'net', where nobody/nothing has .*; it has model\."),
        (lambda path: torch.save([torch.ones(1)], path), r"no 'net', .*; it has list\."),
        (lambda path: torch.save({"net": {"a.weight": 3}}, path), r"something else than tensors .*: a\.weight\."),
    ],
)
def test_files_that_are_no_such_checkpoints(write: Callable[[Path], None], message: str, file: Path) -> None:
    write(file)
    with pytest.raises(ValueError, match=message):
        load_published(Pair(), file, TINY)


def test_a_network_without_numbers_or_with_other_inputs_is_refused(file: Path) -> None:
    with torch.device("meta"):
        hollow_network = Classifier(ResNet(18)).build(PACS_7, pretrained=False)
    with pytest.raises(ValueError, match="meta device"):
        load_published(hollow_network, file, DMG_RESNET)
    network = Classifier(ResNet(18)).build(PACS_7, pretrained=False)
    network.std.fill_(1 / 255)
    with pytest.raises(ValueError, match=r"normalises images by \[0\.0039.*the authors' by \[0\.229, 0\.224, 0\.225\]"):
        load_published(network, file, DMG_RESNET)


def test_an_architecture_that_computes_something_else_is_refused() -> None:
    """The keys of all of these are the same."""
    SELF_ADAPTATION_V1.check(DeepLabV1(ResNet(101, weights="imagenet"), dropout=0.1))
    PIN_THE_MEMORY_V3PLUS.check(DeepLabV3Plus(ResNet(50)))
    with pytest.raises(ValueError, match=r"visinf/self-adaptive .*dilation='uniform'.* computes something else"):
        SELF_ADAPTATION_V1.check(DeepLabV1(ResNet(50), dilation="uniform"))
    with pytest.raises(ValueError, match=r"align_corners=False.* computes something else"):
        PIN_THE_MEMORY_V3PLUS.check(DeepLabV3Plus(ResNet(50), align_corners=False))
    with pytest.raises(ValueError, match=r"computes something else"):
        PIN_THE_MEMORY_V2.check(DeepLabV2.pin_the_memory(ResNet(101)))
