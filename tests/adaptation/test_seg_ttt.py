"""Seg-TTT against the published procedure and the paper's, each written out step by step; what runs once; guards."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raydg.adaptation import IaBN, SegTTT, TrainBN, Views
from raydg.adaptation.seg_ttt import IGNORED
from raydg.domains.labels import CITYSCAPES_19
from raydg.models import DeepLabV1, Network, SmallNet

SHARE = 0.3
STEPS = 4
RATE = 0.02


class Blend(nn.Module):
    """The paper's Eq. 3 and 4 on variances; `published` training mode is the plain layer's."""

    def __init__(self, layer: nn.BatchNorm2d, published: bool) -> None:
        super().__init__()
        self.layer, self.published = layer, published

    def forward(self, x: Tensor) -> Tensor:
        bn = self.layer
        if self.training and self.published:
            return bn(x)
        own = x.flatten(2)
        mean = SHARE * own.mean(2) + (1 - SHARE) * bn.running_mean
        var = SHARE * own.var(2, unbiased=False) + (1 - SHARE) * bn.running_var
        normal = (x - mean[:, :, None, None]) / (var[:, :, None, None] + bn.eps) ** 0.5
        return normal * bn.weight[:, None, None] + bn.bias[:, None, None]


def blended(module: nn.Module, published: bool) -> nn.Module:
    for name, child in list(module.named_modules()):
        if isinstance(child, nn.BatchNorm2d):
            parent, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(parent), leaf, Blend(child, published))
    return module


def voted(network: nn.Module, image: Tensor) -> Tensor:
    """Mean probabilities over the six published views, one after the other."""
    maps = []
    for scale in (0.25, 0.5, 0.75):
        size = [round(scale * side) for side in image.shape[-2:]]
        small = F.interpolate(image, size, mode="bilinear", antialias=True)
        red, green, blue = small.unbind(1)
        grey = torch.stack([0.299 * red + 0.587 * green + 0.114 * blue] * 3, 1)
        maps.append(network(small).softmax(1))
        maps.append(network(grey.flip(3)).softmax(1).flip(3))
    enlarged = [F.interpolate(m, image.shape[-2:], mode="bilinear", align_corners=True) for m in maps]
    return sum(enlarged) / 6


def labelled(mean: Tensor, confidence: float, strict: bool) -> Tensor:
    """Eq. 6 to 8, pixel by pixel."""
    _, k, height, width = mean.shape
    thresholds = [confidence * mean[0, c].max() for c in range(k)]
    labels = torch.full((1, height, width), IGNORED)
    for y in range(height):
        for x in range(width):
            c = int(mean[0, :, y, x].argmax())
            p = mean[0, c, y, x]
            if p > thresholds[c] or (p == thresholds[c] and not strict):
                labels[0, y, x] = c
    return labels


def procedure(network: Network, image: Tensor, published: bool, frozen: tuple[str, ...]) -> list[Tensor]:
    """Probabilities after 0, 1, ... iterations; the whole network runs in every one."""
    net = blended(copy.deepcopy(network), published).eval()
    with torch.no_grad():
        labels = labelled(voted(net, image), 0.7, strict=published)
        results = [net(image).softmax(1)]
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(not name.startswith(frozen))
    for _ in range(STEPS):
        net.train(published)
        logits = net(image)
        total = sum(
            -logits[0, :, y, x].log_softmax(0)[labels[0, y, x]] for y, x in (labels[0] != IGNORED).nonzero().tolist()
        )
        learning = [p for p in net.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(total / (labels != IGNORED).sum(), learning)
        with torch.no_grad():
            for p, g in zip(learning, gradients, strict=True):
                p -= RATE * g
            results.append(net.eval()(image).softmax(1))
    return results


@pytest.fixture(scope="module")
def net() -> Network:
    torch.manual_seed(4)
    network = DeepLabV1(SmallNet(2)).build(CITYSCAPES_19).double()
    with torch.no_grad():
        for _ in range(3):
            network.train()(torch.rand(2, 3, 32, 32).double())
        network.decoder.classifier.weight.mul_(100)
    return network.eval()


@pytest.fixture
def image() -> Tensor:
    rough = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return F.interpolate(rough, (16, 24), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("published", [True, False], ids=["published", "paper"])
@pytest.mark.parametrize(("layers", "frozen"), [(2, ("encoder.stem", "encoder.block1")), (0, ("encoder",))])
def test_it_is_the_procedure(net, image, published, layers, frozen):
    expected = procedure(net, image, published, frozen)
    given = {"iterations": STEPS, "learning_rate": RATE, "norm": IaBN(SHARE), "layers": layers}
    given["also_after"] = tuple(range(STEPS))
    ttt = SegTTT.reference(**given) if published else SegTTT(**given)
    results = ttt.predictor(net).all(image)
    assert (expected[-1].argmax(1) != expected[0].argmax(1)).any()
    for got, want in zip(results, expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-10)
        assert torch.equal(got.argmax(1), want.argmax(1))


SETTINGS = [
    SegTTT(),
    SegTTT(relabels=True),
    SegTTT(relabels=True, learns_from="views"),
    SegTTT(TrainBN(), layers=1),
    SegTTT(normalises_with="running", relabels=True),
    SegTTT.reference(),
    SegTTT.reference(relabels=True, also_after=(0, 1)),
]


@pytest.mark.parametrize("ttt", SETTINGS, ids=lambda t: t.label)
def test_a_trunk_that_runs_once_changes_nothing(net, image, ttt):
    given = {"iterations": 3, "learning_rate": RATE}
    predictor = type(ttt)(**{**vars(ttt), **given}).predictor(net)
    fast = predictor.all(image)
    predictor.trunk.modules = []
    assert torch.equal(predictor.all(image), fast)


@pytest.mark.parametrize(("ttt", "times"), [(SegTTT(iterations=5), 1), (SegTTT.reference(iterations=5), 1 + 1)])
def test_frozen_layers_run_once_for_the_image(net, image, ttt, times, monkeypatch):
    """And for the prediction once more, under drifted statistics."""
    predictor = ttt.predictor(net)
    first = predictor.network.encoder.stem[0]
    sizes = []
    convolve = nn.Conv2d._conv_forward

    def counted(self, x, *others):
        if self is first:
            sizes.append(tuple(x.shape[-2:]))
        return convolve(self, x, *others)

    monkeypatch.setattr(nn.Conv2d, "_conv_forward", counted)
    predictor(image)
    assert sizes.count((16, 24)) == times
    assert len(sizes) == times + 3  # the views: two of each size in one forward


def test_variants_of_one_run_are_runs_of_their_own(net, image):
    several = SegTTT(iterations=3, also_after=(0, 1), learning_rate=RATE)
    results = several.predictor(net).all(image)
    for number, result in zip((0, 1, 3), results, strict=True):
        single = SegTTT(iterations=number, learning_rate=RATE)
        assert single.label == several.variants[(0, 1, 3).index(number)]
        torch.testing.assert_close(single.predictor(net)(image), result, rtol=0, atol=1e-12)
    torch.testing.assert_close(results[0], IaBN().predictor(net)(image))


def test_learning_from_views_is_the_mean_over_all_their_pixels(net, image):
    """One step against autograd on the whole of it."""
    ttt = SegTTT(TrainBN(), iterations=1, learning_rate=RATE, learns_from="views", layers=0, views=Views((0.5, 1.0)))
    twin = copy.deepcopy(net)
    views = ttt.views.by_size(image)
    with torch.no_grad():
        maps = []
        for group, batch in views.values():
            for view, p in zip(group, twin(batch).softmax(1).split(1), strict=True):
                p = p.flip(3) if view.flip else p
                maps.append(F.interpolate(p, image.shape[-2:], mode="bilinear", align_corners=True))
        labels = labelled(sum(maps) / 4, 0.7, strict=False)
    losses = []
    for size, (group, batch) in views.items():
        step = image.shape[-1] // size[1]
        # The nearest pixel to the centre of a position half as dense is the later of the two beside it.
        smaller = labels[:, step // 2 :: step, step // 2 :: step]
        for view, logits in zip(group, twin(batch).split(1), strict=True):
            target = smaller.flip(2) if view.flip else smaller
            losses.append(F.cross_entropy(logits, target, ignore_index=IGNORED, reduction="none")[target != IGNORED])
    parameters = list(twin.decoder.parameters())
    gradients = torch.autograd.grad(torch.cat(losses).mean(), parameters)
    with torch.no_grad():
        for p, g in zip(parameters, gradients, strict=True):
            p -= RATE * g
        expected = twin(image).softmax(1)
    torch.testing.assert_close(ttt.predictor(net)(image), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("strict", [True, False])
def test_pseudo_labels_are_equations_6_to_8(strict):
    draw = torch.Generator().manual_seed(0)
    mean = (2 * torch.randn(1, 5, 9, 11, generator=draw, dtype=torch.float64)).softmax(1)
    labels = SegTTT(strict=strict).pseudo_labels(mean)
    assert torch.equal(labels, labelled(mean, 0.7, strict))
    assert 0 < (labels == IGNORED).sum() < labels.numel()


def test_the_threshold_itself_is_kept_unless_strict():
    mean = torch.tensor([[0.5, 1.0], [0.5, 0.0]], dtype=torch.float64).view(1, 2, 1, 2)
    assert SegTTT(confidence=0.5).pseudo_labels(mean).tolist() == [[[0, 0]]]
    assert SegTTT(confidence=0.5, strict=True).pseudo_labels(mean).tolist() == [[[IGNORED, 0]]]
    fixed = SegTTT(confidence=0.6, class_thresholds=False)
    assert fixed.pseudo_labels(mean).tolist() == [[[IGNORED, 0]]]


@pytest.mark.parametrize("relabels", [True, False])
def test_an_image_without_a_confident_pixel_is_left_to_the_normalisation(net, image, relabels):
    ttt = SegTTT(confidence=0.999999, class_thresholds=False, relabels=relabels, also_after=(0, 5))
    quiet = copy.deepcopy(net)
    quiet.decoder.classifier.weight.data.mul_(1e-4)
    results = ttt.predictor(quiet).all(image)
    expected = IaBN().predictor(quiet)(image)
    assert all(torch.equal(result, expected) for result in results)


def test_nothing_is_learnt_from_the_image_before(net, image):
    predictor = SegTTT.reference(iterations=2, momentum=0.9).predictor(net)
    first = predictor(image)
    predictor(image.flip(2) * 0.5)
    assert torch.equal(predictor(image), first)


def test_a_prediction_that_fails_leaves_all_as_it_was(net, image):
    predictor = SegTTT.reference(iterations=3).predictor(net)
    before = {name: tensor.clone() for name, tensor in predictor.network.state_dict().items()}
    expected = predictor(image)

    def fail(*_):
        raise KeyboardInterrupt

    hook = predictor.network.decoder.classifier.register_full_backward_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        predictor(image)
    hook.remove()
    assert all(torch.equal(tensor, before[name]) for name, tensor in predictor.network.state_dict().items())
    assert torch.equal(predictor(image), expected)


def test_bf16_is_near_and_leaves_the_weights_in_float32(net, image):
    single = copy.deepcopy(net).float()
    exact = SegTTT(iterations=1).predictor(single)(image.float())
    predictor = SegTTT(iterations=1, bf16=True).predictor(single)
    half = predictor(image.float())
    assert half.dtype == torch.float32 and not torch.equal(half, exact)
    assert (half.argmax(1) == exact.argmax(1)).double().mean() > 0.8
    assert {p.dtype for p in predictor.network.parameters()} == {torch.float32}


@pytest.mark.parametrize("make", [SegTTT, SegTTT.reference])
def test_only_what_learns_is_rough(net, image, make):
    """Views, the layers that run once, and predictions are those of float32; so is all before the first step."""
    single, picture = copy.deepcopy(net).float(), image.float()
    exact, rough = (make(iterations=1, also_after=(0,), bf16=b).predictor(single) for b in (False, True))
    before, after = rough.all(picture)
    assert torch.equal(before, exact.all(picture)[0]) and not torch.equal(after, exact.all(picture)[1])
    views = exact.ttt.views.by_size(picture)
    assert torch.equal(exact._labels(picture, views), rough._labels(picture, views))
    seen = {}
    for name in ("stem.0", "block3.shortcut.0"):
        rough.network.encoder.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: seen.setdefault(name, set()).add(output.dtype)
        )
    rough(picture)
    assert seen == {"stem.0": {torch.float32}, "block3.shortcut.0": {torch.float32, torch.bfloat16}}


def test_layers_go_by_number_or_name(net):
    named = SegTTT(layers=("decoder", "block3", "block2")).predictor(net)
    assert len(named.learning) == len(SegTTT(layers=2).predictor(net).learning)
    assert [id(p) for p in SegTTT(layers=0).predictor(net).learning]
    shapes = [p.shape for p in SegTTT(layers=0).predictor(net).learning]
    assert shapes == [p.shape for p in net.decoder.parameters()]
    everything = SegTTT(layers=4).predictor(net)
    assert sum(p.numel() for p in everything.learning) == sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"confidence": 1.0}, "SegTTT.confidence is 1.0: it must be between 0 and 1"),
        ({"learning_rate": 0.0}, "SegTTT.learning_rate is 0.0: it must be above 0"),
        ({"iterations": -1}, "SegTTT.iterations is -1"),
        ({"momentum": 1.0}, "SegTTT.momentum is 1.0"),
        ({"weight_decay": -1.0}, "SegTTT.weight_decay"),
        ({"layers": ()}, r"SegTTT.layers is \(\)"),
        ({"drift": 0.1}, "SegTTT.drift is 0.1: it must be 0 unless normalises_with is 'image'"),
        ({"learns_from": "views", "normalises_with": "image"}, "SegTTT.learns_from is 'views': it must be 'image'"),
        ({"also_after": (10,)}, r"SegTTT.also_after is \(10,\): .* below iterations, 10"),
        ({"also_after": (2, 1)}, "SegTTT.also_after"),
    ],
)
def test_illegal_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        SegTTT(**change)


def test_layers_that_the_encoder_lacks_are_refused(net):
    with pytest.raises(ValueError, match=r"SegTTT.layers names 'layer3': this network has stem, block1, .*, decoder"):
        SegTTT(layers=("layer3",)).predictor(net)
    with pytest.raises(ValueError, match=r"SegTTT.layers is 5: the encoder has 4 groups"):
        SegTTT(layers=5).predictor(net)
