"""Pretrained weights: every format, every way a file can be wrong, and real weights on real photos."""

import logging
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from raydg.domains.labels import IDD_LEVEL1, PACS_7
from raydg.models import Classifier, DeepLabV3Plus, Network, ResNet, SqueezeNet
from raydg.models.layers import Head
from raydg.models.pretrained_backbone import recognise

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not (DATA / "extra" / "weights").is_dir(), reason="the real weights are not here")

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """Weights of torchvision's whole SqueezeNet 1.1, its head for 1000 classes."""
    torch.manual_seed(7)
    return dict(models.squeezenet1_1().state_dict())


def save_npz(state: State, path: Path) -> None:
    np.savez(path, **{key: tensor.numpy() for key, tensor in state.items()})


def build(path: Path | str) -> Network:
    torch.manual_seed(0)
    return Classifier(SqueezeNet("1.1", weights=str(path))).build(PACS_7)


def assert_filled(network: Network, state: State) -> None:
    loaded = network.encoder.state_dict()
    assert loaded.keys() == {key for key in state if key.startswith("features.")}
    for key, tensor in loaded.items():
        torch.testing.assert_close(tensor, state[key], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("bare.pth", torch.save),
        ("wrapped.pth", lambda state, path: torch.save({"state_dict": state, "epoch": 3}, path)),
        ("model.pth", lambda state, path: torch.save({"model": state}, path)),
        ("parallel.pth", lambda state, path: torch.save({f"module.{key}": state[key] for key in state}, path)),
        ("weights.safetensors", save_file),
        ("weights.npz", save_npz),
    ],
)
def test_every_format_fills_the_encoder(name: str, save: Callable, state: State, tmp_path: Path) -> None:
    save(state, tmp_path / name)
    assert_filled(build(tmp_path / name), state)


def test_features_alone_are_enough(state: State, tmp_path: Path) -> None:
    save_npz({key: tensor for key, tensor in state.items() if key.startswith("features.")}, tmp_path / "f.npz")
    assert_filled(build(tmp_path / "f.npz"), state)


def test_the_head_is_left_out_and_named(state: State, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_npz(state, tmp_path / "w.npz")
    with caplog.at_level(logging.INFO, logger="raydg"):
        with_weights = build(tmp_path / "w.npz")
    assert "classifier.1.weight, classifier.1.bias" in caplog.text
    torch.manual_seed(0)
    random = Classifier(SqueezeNet("1.1")).build(PACS_7)
    assert all(map(torch.equal, with_weights.decoder.parameters(), random.decoder.parameters()))


def test_a_dilated_resnet_takes_the_files_of_the_plain_one(tmp_path: Path) -> None:
    """Also without the counters of BatchNorm, which old files lack."""
    state = {key: t for key, t in models.resnet18().state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pth")
    network = DeepLabV3Plus(ResNet(18, weights=str(tmp_path / "old.pth")), aspp_channels=2).build(IDD_LEVEL1)
    for key, tensor in network.encoder.state_dict().items():
        torch.testing.assert_close(tensor, state.get(key, torch.tensor(0)), rtol=0, atol=0)


def test_a_network_for_a_checkpoint_needs_no_file(state: State, tmp_path: Path) -> None:
    save_npz(state, tmp_path / "w.npz")
    trained = build(tmp_path / "w.npz")
    (tmp_path / "w.npz").unlink()
    rebuilt = Classifier(SqueezeNet("1.1", weights=str(tmp_path / "w.npz"))).build(PACS_7, pretrained=False)
    rebuilt.load_state_dict(trained.state_dict())
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(rebuilt.eval()(images), trained.eval()(images))


def test_imagenet_weights_come_through_torchvision(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = []

    def from_disk(url: str, destination: str, *_: object, **__: object) -> None:
        urls.append(url)
        torch.save(state, destination)

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", from_disk)
    assert_filled(build("imagenet"), state)
    assert_filled(build("imagenet"), state)
    assert urls == [models.SqueezeNet1_1_Weights.IMAGENET1K_V1.url], "once, then from the cache"


def test_imagenet_weights_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(ValueError, match=r"squeezenet1_1.*\.pth cannot be downloaded .* no route to host; put it into"):
        build("imagenet")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {"features.9.new": torch.zeros(1)}, r"1 keys unexpected \(features\.9\.new\)\.$"),
        (lambda s: {k: t for k, t in s.items() if k != "features.0.bias"}, r"1 keys missing \(features\.0\.bias\)\.$"),
        (
            lambda s: s | {"features.0.weight": torch.zeros(64, 3, 5, 5)},
            r"1 keys of another shape \(features\.0\.weight \(64, 3, 5, 5\) for \(64, 3, 3, 3\)\)\.$",
        ),
        (lambda _: models.squeezenet1_0().state_dict(), r"They look like the weights of SqueezeNet\('1\.0'\)\.$"),
        (
            lambda _: models.resnet18().state_dict(),
            r"50 keys missing \(features\.0\.weight, features\.0\.bias, [a-z0-9.]+, [a-z0-9.]+, \.\.\.\); "
            r"122 keys unexpected \(conv1\.weight, .*\)\. They look like the weights of ResNet\(18\)\.$",
        ),
    ],
)
def test_weights_of_another_network_are_refused(change: Callable, message: str, state: State, tmp_path: Path) -> None:
    torch.save(change(state), tmp_path / "wrong.pth")
    with pytest.raises(ValueError, match=message) as caught:
        build(tmp_path / "wrong.pth")
    assert "wrong.pth' do not fit SqueezeNet('1.1')" in str(caught.value)


@pytest.mark.parametrize(
    ("builder", "advice"),
    [
        (models.resnet101, " They look like the weights of ResNet(101)."),
        (models.resnet34, ""),
    ],
)
def test_whose_weights_a_state_dict_holds(builder: Callable[[], nn.Module], advice: str) -> None:
    with torch.device("meta"):
        assert recognise(dict(builder().state_dict()), "torchvision") == advice


class Trap:
    """A pickle that acts when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def truncated(suffix: str) -> Callable[[State, Path], Path]:
    def write(state: State, folder: Path) -> Path:
        path = folder / f"cut{suffix}"
        {".pth": torch.save, ".safetensors": save_file, ".npz": save_npz}[suffix](state, path)
        path.write_bytes(path.read_bytes()[:100_000])
        return path

    return write


def objects(_: State, folder: Path) -> Path:
    np.savez(folder / "objects.npz", a=np.array([Trap(folder / "sprung")], dtype=object))
    return folder / "objects.npz"


def code(_: State, folder: Path) -> Path:
    torch.save({"state_dict": Trap(folder / "sprung")}, folder / "code.pth")
    return folder / "code.pth"


def plain_pickle(_: State, folder: Path) -> Path:
    (folder / "plain.pth").write_bytes(pickle.dumps(Trap(folder / "sprung"), protocol=2))
    return folder / "plain.pth"


def numbers(_: State, folder: Path) -> Path:
    torch.save({"features.0.weight": 3.0}, folder / "numbers.pth")
    return folder / "numbers.pth"


def whole_list(state: State, folder: Path) -> Path:
    torch.save(list(state.values()), folder / "list.pth")
    return folder / "list.pth"


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda _, folder: folder / "absent.npz", "There is no weights file '.*absent.npz'"),
        (lambda _, folder: folder, "must be None, 'imagenet' or a path that ends in .pth, .safetensors, .npz"),
        (truncated(".pth"), "'.*cut.pth' cannot be read: "),
        (truncated(".safetensors"), "'.*cut.safetensors' cannot be read: "),
        (truncated(".npz"), "'.*cut.npz' cannot be read: "),
        (objects, "'.*objects.npz' cannot be read: .*Object arrays"),
        (code, "'.*code.pth' cannot be read: .*Weights only load failed"),
        (plain_pickle, "'.*plain.pth' cannot be read: "),
        (numbers, "'.*numbers.pth' holds no state dict"),
        (whole_list, "'.*list.pth' holds no state dict"),
    ],
)
def test_damaged_and_foreign_files_are_refused(write: Callable, message: str, state: State, tmp_path: Path) -> None:
    path = write(state, tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        build(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "sprung").exists()


def test_weights_on_the_meta_device_are_refused(state: State, tmp_path: Path) -> None:
    save_npz(state, tmp_path / "w.npz")
    with torch.device("meta"), pytest.raises(ValueError, match=r"meta device.*pretrained=False"):
        build(tmp_path / "w.npz")


@needs_data
@pytest.mark.parametrize(
    ("version", "file"),
    [("1.0", "squeezenet1_0_imagenet_tvkeys.npz"), ("1.1", "squeezenet1_1_features_imagenet_tvkeys.npz")],
)
def test_the_real_files_load(version, file: str) -> None:
    weights = DATA / "extra" / "weights" / file
    network = Classifier(SqueezeNet(version, weights=str(weights))).build(PACS_7)
    with np.load(weights) as arrays:
        for key, tensor in network.encoder.state_dict().items():
            assert np.array_equal(tensor.numpy(), arrays[key])


@needs_data
@torch.no_grad()
def test_real_weights_recognise_real_photos() -> None:
    """Top-1 of SqueezeNet 1.0 with its own 1000-way head on 12 PACS photos per class, as the data's README gives it."""
    weights = DATA / "extra" / "weights" / "squeezenet1_0_imagenet_tvkeys.npz"
    with np.load(weights) as arrays:
        reference = models.squeezenet1_0()
        reference.load_state_dict({key: torch.from_numpy(arrays[key]) for key in arrays.files})
    ours = Classifier(SqueezeNet("1.0", weights=str(weights))).build(PACS_7)
    network = Network(ours.encoder, Head(nn.Identity(), nn.Sequential(*reference.classifier, nn.Flatten()), 512)).eval()

    # ImageNet's ids: breeds of dog; tusker, Indian and African elephant; acoustic and electric guitar; sorrel.
    classes = {"dog": range(151, 269), "elephant": (101, 385, 386), "guitar": (402, 546), "horse": (339,)}
    published = {"dog": 0.83, "elephant": 0.83, "guitar": 0.67, "horse": 0.42}
    correct = {}
    for name, ids in classes.items():
        files = sorted((DATA / "pacs" / "PACS" / "photo" / name).iterdir())[::5]
        images = torch.stack([torch.from_numpy(np.array(Image.open(file).convert("RGB"))) for file in files])
        predicted = network(images.permute(0, 3, 1, 2) / 255).argmax(dim=1)
        correct[name] = sum(int(label) in ids for label in predicted) / len(files)
    # Which 12 photos the README took is not written there: two more or fewer right in a class are within chance.
    assert correct == pytest.approx(published, abs=0.13)
    assert sum(correct.values()) / 4 == pytest.approx(sum(published.values()) / 4, abs=0.05)
