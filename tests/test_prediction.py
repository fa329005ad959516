"""What is predicted is what the network says of the image, under the name and at the size of the image; what cannot be
predicted is reported, and what is there is left alone."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from raydg import exported, prediction
from raydg.adaptation import AdaBN, Adaptation, IaBN, Predictor, TargetNorm, TrainBN
from raydg.adaptation.adaptation import Sees
from raydg.augmentation import Augmentation, Resize
from raydg.checkpoint import Checkpoint, RunFolder
from raydg.cli import main
from raydg.domains.catalogue.cityscapes import CITYSCAPES_TO_19
from raydg.domains.labels import PACS_7
from raydg.evaluation import Row
from raydg.experiment import Experiment, Stage
from raydg.frames import ORIENTATION, File, Frame, Remarks, find, frames
from raydg.inspection import OVERLAY
from raydg.methods import DMG, ERM, Averaged, KnownDomain, MaskEns, Method, OfAverage, PinTheMemory, PredEns
from raydg.methods.masked import Masked
from raydg.methods.memory import Remembering
from raydg.models import Classifier, SmallNet
from raydg.optimization import SGD
from raydg.overview import code
from raydg.pictures import paint
from raydg.plan import Sampling
from raydg.prediction import ImagePredictor, find_checkpoint, predict
from raydg.products import default, legal
from raydg.protocol import Resized
from raydg.scoring import shown
from raydg.spelling import spelled
from raydg.storage import Place


def row(step: int, right: int) -> Row:
    counts = tuple(tuple(right * int(i == j) + int(i != j) for j in range(19)) for i in range(19))
    return Row(step, "source-validation", "street/noon", "val", "plain", "t-BN", 0, num_images=1, counts=counts)


def written(experiment: Experiment, runs: Path, steps: Sequence[int] = (6,), best: int = 6) -> RunFolder:
    """A run with checkpoints of random weights, of which the one of step `best` has the best score."""
    folder = RunFolder.of(experiment, runs).open(experiment)
    for step in steps:
        torch.manual_seed(step)
        network = experiment.model.build(experiment.label_space, pretrained=False)
        model = experiment.stages[-1].method.wrap(network, len(experiment.sources), experiment.label_space.num_classes)
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):  # so that statistics matter
                nn.init.normal_(layer.running_mean, std=0.1)
                nn.init.uniform_(layer.running_var, 0.5, 1.5)
        if isinstance(model, Remembering):
            nn.init.normal_(model.memory)
        rows = [row(step, 10 if step == best else 1)] if experiment.label_space.task == "segmentation" else []
        folder.save(experiment, step, model, {}, rows, ())
    return folder


@pytest.fixture(scope="module")
def checkpoint(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return written(experiment, tmp_path_factory.mktemp("runs")).checkpoint_at(6)


def of_method(experiment: Experiment, runs: Path, method: Method) -> Checkpoint:
    model = replace(experiment.model, auxiliary=True) if isinstance(method, PinTheMemory) else experiment.model
    stage = Stage(method=method, optimizer=SGD(0.05), steps=6)
    changed = replace(experiment, name=type(method).__name__, stages=(stage,), model=model)
    return written(changed, runs).checkpoint_at(6)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    experiment = Experiment(
        name="objects",
        label_space=PACS_7,
        sources=("a", "b"),
        model=Classifier(SmallNet(8)),
        stages=(Stage(method=ERM(), optimizer=SGD(0.1), steps=6),),
        sampling=Sampling(images_per_domain=2),
        augmentation=Augmentation((Resize(24, 24),)),
        evaluation_size=(24, 24),
    )
    return written(experiment, tmp_path_factory.mktemp("runs")).checkpoint_at(6)


def drawn(seed: int, height: int = 40, width: int = 56) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def probabilities(checkpoint: Checkpoint, image: np.ndarray, size: tuple[int, int] | None = None) -> Tensor:
    """Of one image under t-BN, by the definition: (k, h, w), or (k,)."""
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    if size:
        x = F.interpolate(x, size, mode="bilinear", antialias=True)
    with torch.no_grad():
        p = checkpoint.network()(x).softmax(1)
    return (F.interpolate(p, image.shape[:2], mode="bilinear") if p.ndim == 4 else p)[0]


def opened(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def lines(out: Path) -> dict[str, dict]:
    return {(line := json.loads(text))["image"]: line for text in (out / "predictions.jsonl").read_text().splitlines()}


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# What predicts.


def test_code_spells_the_value_that_it_is_printed_from():
    for value in (TrainBN(), IaBN(0.25), IaBN(instance_weight=1), TargetNorm(batch_size=3, orders=2)):
        assert spelled(code(value), Adaptation) == value
    assert spelled("TargetNorm(3, orders=2)", Adaptation) == TargetNorm(3, 2) and spelled("IaBN", Adaptation) == IaBN()
    method = Averaged(method=DMG(sites=("low", "context")), ema_rate=None)
    assert spelled(code(method), Method) == method


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("IaBM(0.1)", "no known Adaptation is called 'IaBM'; there are .*IaBN.*TargetNorm.*TrainBN"),
        ("SmallNet(8)", "no known Adaptation is called 'SmallNet'"),
        ("IaBN(wait=0.1)", "IaBN has no field 'wait'"),
        ("IaBN(2)", "IaBN.instance_weight is 2.0: it must be between 0 and 1"),
        ("IaBN(0.1, 0.2)", "IaBN takes 1 arguments by place"),
        ("IaBN(0.1, instance_weight=0.2)", "is given 'instance_weight' twice"),
        ("IaBN(**{})", "without"),
        ("IaBN(*(0.1,))", "without"),
        ("IaBN(open('x').read())", "is no class name"),
        ("IaBN(0.1 if 1 else 2)", "neither a literal nor a constructor call"),
        ("IaBN(b'')", "is no number, string"),
        ("os.remove('x')", "is no class name"),
        ("0.1", "is not the constructor call of a value"),
        ("IaBN(", "is not the constructor call of a value"),
    ],
)
def test_what_constructs_no_adaptation_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        spelled(text, Adaptation)


def test_a_run_stands_for_the_checkpoint_that_its_rule_selects(experiment, tmp_path):
    folder = written(experiment, tmp_path, steps=(2, 4, 6), best=4)
    assert find_checkpoint(folder.path).step == 4
    assert find_checkpoint(folder.checkpoint_at(2).path).step == 2
    last = written(replace(experiment, selection="last"), tmp_path / "last", steps=(2, 4, 6), best=4)
    assert find_checkpoint(last.path).step == 6


def test_a_folder_without_a_checkpoint_is_refused(experiment, tmp_path):
    with pytest.raises(ValueError, match=r"is neither a checkpoint .* nor the folder of a run"):
        find_checkpoint(tmp_path)
    with pytest.raises(ValueError, match="has no checkpoint yet"):
        find_checkpoint(RunFolder.of(experiment, tmp_path).open(experiment).path)
    folder = written(experiment, tmp_path / "renamed")
    moved = folder.checkpoint_at(6).path.rename(tmp_path / "mine")
    with pytest.raises(ValueError, match="is not called step_ and a number"):
        find_checkpoint(moved)


def test_probabilities_are_the_networks_at_the_images_own_size(checkpoint):
    image = drawn(0)
    (found,) = ImagePredictor(checkpoint, TrainBN())([image])
    assert found.probabilities.shape == (19, 40, 56) and found.attention is None
    torch.testing.assert_close(found.probabilities, probabilities(checkpoint, image))


def test_images_of_several_sizes_are_resized_for_the_network_and_back(experiment, tmp_path):
    small = written(replace(experiment, evaluation_size=(32, 48)), tmp_path).checkpoint_at(6)
    images = [drawn(1), drawn(2, 64, 80)]
    predictor = ImagePredictor(small)
    for found, image in zip(predictor(images), images, strict=True):
        torch.testing.assert_close(found.probabilities, probabilities(small, image, (32, 48)))
    seen = shown(images[:1], Resized(32, 48), torch.device("cpu"), torch.float32)
    alone = TrainBN().predictor(small.network())(seen)
    back = F.interpolate(alone, (40, 56), mode="bilinear")[0]
    torch.testing.assert_close(predictor(images[:1])[0].probabilities, back)


def test_the_adaptation_meets_the_images_and_the_experiments_first_is_the_default(experiment, checkpoint, tmp_path):
    image = torch.from_numpy(drawn(3)).permute(2, 0, 1)[None].float() / 255
    expected = IaBN(0.3).predictor(checkpoint.network())(image)[0]
    assert not torch.allclose(expected, probabilities(checkpoint, drawn(3)), atol=1e-3)
    torch.testing.assert_close(ImagePredictor(checkpoint, IaBN(0.3))([drawn(3)])[0].probabilities, expected)
    other = written(replace(experiment, adaptations=(IaBN(0.5), TrainBN())), tmp_path).checkpoint_at(6)
    assert ImagePredictor(other).adaptation == IaBN(0.5)


def test_an_inference_that_must_know_its_domain_is_told(experiment, tmp_path):
    masked = of_method(experiment, tmp_path, DMG())
    image = drawn(4)
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    found = ImagePredictor(masked, TrainBN(), KnownDomain(), domain="street/dusk")([image])[0].probabilities
    with torch.no_grad():
        expected = KnownDomain().module(masked.model().eval(), experiment.source_names, "street/dusk")(x).softmax(1)
    torch.testing.assert_close(found, expected[0])
    with pytest.raises(ValueError, match="None is no source"):
        ImagePredictor(masked, TrainBN(), KnownDomain())
    with pytest.raises(ValueError, match=r"OfAverage does not fit DMG, .* PredEns, MaskEns"):
        ImagePredictor(masked, TrainBN(), OfAverage(of=PredEns()))


def frames_of(*sizes: tuple[int, int]) -> list[Frame]:
    return [Frame(str(number), "", drawn(number, *size)) for number, size in enumerate(sizes)]


def names(batches) -> list[list[str]]:
    return [[frame.name for frame in batch] for batch in batches]


@dataclass(frozen=True)
class Counting(Adaptation):
    """Says in its probabilities how many batches it has met and what it was fitted to."""

    batch_size = 2
    keeps_state = True
    needs_fit = True
    doubled: bool = False

    @property
    def label(self) -> str:
        return "counting"

    @property
    def sees(self) -> Sees:
        return "the whole target"

    def predictor(self, network: nn.Module) -> Predictor:
        return CountingPredictor(network, self.doubled)


class CountingPredictor(Predictor):
    def __init__(self, network: nn.Module, doubled: bool) -> None:
        super().__init__(network)
        self.fitted: list[int] = []
        self.doubled = doubled

    def fit(self, batches) -> None:
        self.fitted += [len(batch) for batch in batches]

    def __call__(self, images: Tensor) -> Tensor:
        if self.doubled:
            super().__call__(images)
        return super().__call__(images)


def test_images_of_a_size_share_a_batch_where_the_adaptation_sees_one(checkpoint):
    some = frames_of((40, 56), (32, 32), (40, 56), (40, 56), (32, 32))
    assert names(ImagePredictor(checkpoint, TargetNorm(2)).batches(some)) == [["0", "2"], ["1", "4"], ["3"]]
    assert names(ImagePredictor(checkpoint, Counting()).batches(some)) == [["0"], ["1"], ["2", "3"], ["4"]]
    assert names(ImagePredictor(checkpoint, TrainBN()).batches(some)) == [["0", "2", "3"], ["1", "4"]]
    many = frames_of(*((32 + n, 32) for n in range(prediction.SIZES_AT_ONCE + 2)))
    stream = ImagePredictor(checkpoint, TrainBN()).batches(iter(many))
    assert [frame.name for frame in next(stream)] == ["0"]  # not only at the end


# What is predicted.


def test_names_keep_the_folders_and_never_meet(tmp_path):
    for path in ("a/x.png", "a/x.jpg", "a/y.png", "b/c/x.PNG", "b/notes.txt"):
        save(tmp_path / path, drawn(0)) if path != "b/notes.txt" else (tmp_path / path).write_text("no image")
    found = {file.path.relative_to(tmp_path).as_posix(): file.name for file in find([tmp_path], tmp_path / "out")}
    assert found == {"a/x.jpg": "a/x.jpg", "a/x.png": "a/x.png", "a/y.png": "a/y", "b/c/x.PNG": "b/c/x"}
    two = [file.name for file in find([tmp_path / "a", tmp_path / "b", tmp_path / "a/y.png"], tmp_path / "out")]
    assert two == ["a/x.jpg", "a/x.png", "a/y", "b/c/x"]


def test_own_outputs_are_no_inputs_and_links_are_followed_once(tmp_path):
    save(tmp_path / "in/x.png", drawn(0))
    save(tmp_path / "in/out/colour/x_colour.png", drawn(0))
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    save(tmp_path / "elsewhere/y.png", drawn(0))
    (tmp_path / "in/link").symlink_to(tmp_path / "elsewhere")
    assert [file.name for file in find([tmp_path / "in"], tmp_path / "in/out")] == ["link/y", "x"]


def test_files_that_would_share_a_name_and_empty_folders_are_refused(tmp_path):
    save(tmp_path / "a/x/1.png", drawn(0))
    save(tmp_path / "b/x/1.png", drawn(0))
    with pytest.raises(ValueError, match=r"a/x/1\.png and .*b/x/1\.png would both be called 'x/1"):
        find([tmp_path / "a/x", tmp_path / "b/x"], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="hold nothing to predict"):
        find([tmp_path / "empty"], tmp_path / "out")


def film(path: Path, colours: Sequence[tuple[int, int, int]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for red, green, blue in colours:
        video.write(np.full((48, 64, 3), (blue, green, red), np.uint8))
    video.release()
    return path


def test_a_videos_frames_are_images_in_a_folder_of_its_name(tmp_path):
    colours = [(250, 10, 10), (10, 250, 10), (10, 10, 250)]
    film(tmp_path / "in/drive.avi", colours)
    remarks = Remarks({}, {})
    found = list(frames(find([tmp_path / "in"], tmp_path / "out"), lambda name, source: True, False, remarks))
    assert [frame.name for frame in found] == [f"drive/frame_00000{i}" for i in range(3)] and remarks == Remarks({}, {})
    assert found[1].source == f"{tmp_path}/in/drive.avi#1"
    for frame, colour in zip(found, colours, strict=True):
        assert frame.pixels.shape == (48, 64, 3) and np.abs(frame.pixels - np.array(colour, float)).max() < 12
    last = list(frames(find([tmp_path / "in"], "out"), lambda name, source: name.endswith("2"), False, remarks))
    assert [frame.name for frame in last] == ["drive/frame_000002"]
    save(tmp_path / "in/drive/frame_000000.png", drawn(0))
    assert {file.name for file in find([tmp_path / "in"], "out")} == {"drive.avi", "drive/frame_000000"}


def test_pixels_are_as_they_are_stored_unless_they_are_to_be_upright(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # to be turned clockwise by a quarter
    path, pixels = tmp_path / "phone.png", drawn(5)
    save(path, pixels, exif=exif)
    for upright, expected in ((False, pixels), (True, np.rot90(pixels, -1))):
        remarks = Remarks({}, {})
        (frame,) = frames([File(path, "phone")], lambda name, source: True, upright, remarks)
        assert np.array_equal(frame.pixels, expected) and bool(remarks.notes) != upright
        assert not remarks.faults


# What is written.


def test_every_product_says_what_the_network_says(checkpoint, tmp_path):
    image, space = drawn(6), checkpoint.experiment.label_space
    path = save(tmp_path / "in/city/aachen_1.png", image)
    wanted = default(checkpoint.experiment, checkpoint.method)
    assert wanted == ("trainIds", "labelIds", "colour", "overlay", "confidence")
    outcome = predict(ImagePredictor(checkpoint), find([tmp_path / "in"], "out"), tmp_path / "out", wanted)
    assert (outcome.predicted, outcome.kept, outcome.faults) == (1, 0, {})
    out = {name: opened(tmp_path / f"out/{name}/city/aachen_1_{name}.png") for name in wanted}
    confidence, classes = probabilities(checkpoint, image).max(0)
    assert np.array_equal(out["trainIds"], classes.numpy()) and out["trainIds"].dtype == np.uint8
    back, _ = CITYSCAPES_TO_19.map(out["labelIds"], Place.at(path))
    assert np.array_equal(back, out["trainIds"]) and out["labelIds"].max() > 18
    assert np.array_equal(out["colour"], np.array(space.palette, np.uint8)[classes.numpy()])
    blend = OVERLAY * paint(out["trainIds"], space) + (1 - OVERLAY) * image
    assert np.abs(out["overlay"] - blend).max() <= 1
    assert np.abs(out["confidence"] / 255 - confidence.numpy()).max() <= 0.5 / 255 + 1e-5
    (line,) = lines(tmp_path / "out").values()
    assert line["image"] == "city/aachen_1" and line["source"] == str(path)
    assert (line["height"], line["width"]) == (40, 56)
    assert line["confidence"] == pytest.approx(float(confidence.mean()), abs=1e-5)


def test_a_classifiers_record_has_the_class_and_all_probabilities(classifier, tmp_path):
    images = {"x": drawn(7), "y": drawn(8, 30, 90)}
    for name, image in images.items():
        save(tmp_path / f"in/{name}.png", image)
    assert default(classifier.experiment, classifier.method) == ()
    predict(ImagePredictor(classifier), find([tmp_path / "in"], "out"), tmp_path / "out", ())
    assert files_in(tmp_path / "out") == {"prediction.json", "predictions.jsonl"}
    for name, image in images.items():
        expected, line = probabilities(classifier, image, (24, 24)), lines(tmp_path / "out")[name]
        assert list(line["probabilities"]) == list(PACS_7.classes)
        assert list(line["probabilities"].values()) == pytest.approx(expected.tolist(), abs=1e-5)
        assert line["class"] == PACS_7.classes[int(expected.argmax())]
        assert line["confidence"] == max(line["probabilities"].values())


def test_memory_maps_are_the_softmax_of_the_cosines_with_its_rows(experiment, tmp_path):
    remembering = of_method(experiment, tmp_path, PinTheMemory())
    assert "memory" in legal(remembering.experiment, remembering.method)
    assert "memory" not in default(remembering.experiment, remembering.method)
    image = drawn(9)
    save(tmp_path / "in/x.png", image)
    predictor = ImagePredictor(remembering, TrainBN(), attention=True)
    predict(predictor, find([tmp_path / "in"], "out"), tmp_path / "out", ("memory",))
    model = remembering.model().eval()
    assert isinstance(model, Remembering)
    with torch.no_grad():
        features = model.features(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
    rows = F.normalize(model.memory, dim=1)
    cosines = torch.einsum("bchw,kc->bkhw", F.normalize(features, dim=1), rows)
    assert not torch.allclose(rows, model.memory), "the rows must differ from unit ones for the test to tell"
    shares = cosines.softmax(1)
    white = lines(tmp_path / "out")["x"]["memory_white"]
    assert white == pytest.approx(float(shares.max()), rel=1e-4)
    maps = sorted((tmp_path / "out/memory/x").iterdir())
    assert [path.name for path in maps][:7:6] == ["00_road.png", "06_traffic_light.png"] and len(maps) == 19
    expected = F.interpolate(shares, (40, 56), mode="bilinear")[0]
    for path, share in zip(maps, expected, strict=True):
        assert np.abs(opened(path) / 255 * white - share.numpy()).max() <= 0.51 / 255 * white


def test_internals_that_there_are_none_of_are_refused(experiment, checkpoint, tmp_path):
    with pytest.raises(ValueError, match="ERM has no memory"):
        ImagePredictor(checkpoint, attention=True)
    with pytest.raises(ValueError, match=r"--write memory: ERM .* has trainIds, labelIds"):
        predict(ImagePredictor(checkpoint), [], tmp_path / "out", ("memory",))
    remembering = of_method(experiment, tmp_path, PinTheMemory())
    with pytest.raises(ValueError, match="counting predicts from 2 forwards"):
        ImagePredictor(remembering, Counting(doubled=True), attention=True)([drawn(0)])


@pytest.mark.parametrize("averaged", [False, True])
def test_masks_are_a_table_of_keep_probabilities(experiment, tmp_path, averaged):
    masked = of_method(experiment, tmp_path, Averaged(method=DMG()) if averaged else DMG())
    save(tmp_path / "in/x.png", drawn(0))
    predict(ImagePredictor(masked, TrainBN()), find([tmp_path / "in"], "out"), tmp_path / "out", ("masks",))
    head, *table = (tmp_path / "out/masks.csv").read_text().splitlines()
    assert head == "site,unit,street/noon,street/dusk,street/rain"
    model = masked.model()
    masks = model.average if averaged else model  # pyright: ignore[reportAttributeAccessIssue]
    assert isinstance(masks, Masked)
    site, unit, *values = table[3].split(",")
    expected = torch.sigmoid(masks.masks[site][:, int(unit)])
    assert [float(value) for value in values] == pytest.approx(expected.tolist())
    assert len(table) == sum(mask.shape[1] for mask in masks.masks.values())


# What went wrong, and what is there already.


def test_bad_files_are_reported_and_the_rest_is_done(checkpoint, tmp_path, capsys):
    folder = tmp_path / "in"
    save(folder / "good.png", drawn(0))
    save(folder / "grey.png", drawn(1)[..., 0])
    whole = io.BytesIO()
    Image.fromarray(drawn(2)).save(whole, format="PNG")
    (folder / "cut.png").write_bytes(whole.getvalue()[:-200])
    (folder / "text.jpg").write_text("no image")
    save(folder / "deep.png", np.zeros((40, 40), np.uint16))
    save(folder / "tiny.png", drawn(3, 1, 1))
    (folder / "film.mp4").write_bytes(b"no film")
    arguments = ["predict", str(checkpoint.path), str(folder), str(tmp_path / "gone.png"), "--device", "cpu"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--write", "trainIds", "--out", str(tmp_path / "out")])
    assert ended.value.code == 1
    printed = " ".join(capsys.readouterr().out.split())
    bad = ("cut.png", "text.jpg", "deep.png", "film.mp4", "gone.png")
    assert all(name in printed for name in bad) and "could not be predicted" in printed
    assert {"in/good", "in/grey"} <= lines(tmp_path / "out").keys() <= {"in/good", "in/grey", "in/tiny"}
    written = {path for path in files_in(tmp_path / "out") if "trainIds" in path}
    assert written == {f"trainIds/{name}_trainIds.png" for name in lines(tmp_path / "out")}


def test_a_network_that_refuses_an_image_is_a_fault_of_that_image(checkpoint, tmp_path, monkeypatch):
    for name, size in (("x", (40, 56)), ("y", (32, 32))):
        save(tmp_path / f"in/{name}.png", drawn(0, *size))
    predictor = ImagePredictor(checkpoint)
    plain = predictor.predictor.network.forward

    def refuse(images: Tensor) -> Tensor:
        if images.shape[-1] == 32:
            raise ValueError("Images are 32 x 32: each side must be at least 33.")
        return plain(images)

    monkeypatch.setattr(predictor.predictor.network, "forward", refuse)
    outcome = predict(predictor, find([tmp_path / "in"], "out"), tmp_path / "out", ("trainIds",))
    assert list(outcome.faults) == [f"{tmp_path}/in/y.png"] and outcome.predicted == 1
    assert "y.png: Images are 32 x 32" in outcome.summary()


def test_what_is_there_is_left_alone_until_it_is_overwritten(checkpoint, tmp_path):
    save(tmp_path / "in/x.png", drawn(0))
    predictor, out = ImagePredictor(checkpoint), tmp_path / "out"

    def run(*write: str, **options: bool) -> tuple[int, int]:
        outcome = predict(predictor, find([tmp_path / "in"], out), out, write, **options)
        return outcome.predicted, outcome.kept

    assert run("trainIds") == (1, 0)
    before = (out / "trainIds/x_trainIds.png").read_bytes()
    (out / "trainIds/x_trainIds.png").write_bytes(b"touched")
    assert run("trainIds") == (0, 1) and (out / "trainIds/x_trainIds.png").read_bytes() == b"touched"
    assert run("trainIds", overwrite=True) == (1, 0) and (out / "trainIds/x_trainIds.png").read_bytes() == before
    save(tmp_path / "in/y.png", drawn(1))
    assert run("trainIds") == (1, 1) and run("trainIds", "colour") == (2, 0)
    assert sorted(lines(out)) == ["x", "y"]


def test_an_image_counts_as_done_when_all_of_it_is_written(checkpoint, tmp_path, monkeypatch):
    for name in "xyz":
        save(tmp_path / f"in/{name}.png", drawn(ord(name)))
    predictor, out = ImagePredictor(checkpoint), tmp_path / "out"
    files, wanted = find([tmp_path / "in"], out), ("trainIds", "colour")
    plain, calls = Place.write_bytes, []

    def failing(place: Place, data: bytes) -> None:
        calls.append(place)
        if len(calls) == 4:
            raise OSError("disk full")
        plain(place, data)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr(Place, "write_bytes", failing)
        predict(predictor, files, out, wanted)
    assert list(lines(out)) == ["x"]
    with (out / "predictions.jsonl").open("a") as record:  # a kill in the middle of a line
        record.write('{"image": "y", "sour')
    outcome = predict(predictor, files, out, wanted)
    assert (outcome.predicted, outcome.kept) == (2, 1) and sorted(lines(out)) == ["x", "y", "z"]


def test_predictions_of_another_way_or_of_other_files_do_not_mix(checkpoint, tmp_path):
    save(tmp_path / "a/x.png", drawn(0))
    save(tmp_path / "b/x.png", drawn(1))
    out, of_a, of_b = tmp_path / "out", find([tmp_path / "a"], "out"), find([tmp_path / "b"], "out")
    predict(ImagePredictor(checkpoint, TrainBN()), of_a, out, ("trainIds",))
    with pytest.raises(ValueError, match=r"made in another way \(adaptation\)"):
        predict(ImagePredictor(checkpoint, IaBN(0.2)), of_a, out, ("trainIds",))
    with pytest.raises(ValueError, match=r"holds a prediction of .*a/x\.png under the name 'x'"):
        predict(ImagePredictor(checkpoint, TrainBN()), of_b, out, ("trainIds",))
    predict(ImagePredictor(checkpoint, IaBN(0.2)), of_b, out, ("trainIds",), overwrite=True)
    assert lines(out)["x"]["source"] == f"{tmp_path}/b/x.png"


def test_an_adaptation_that_sees_a_batch_gets_batches_and_is_never_resumed_in_part(checkpoint, tmp_path):
    images = {name: drawn(ord(name)) for name in "xyz"}
    for name, image in images.items():
        save(tmp_path / f"in/{name}.png", image)
    predictor, out = ImagePredictor(checkpoint, TargetNorm(batch_size=2)), tmp_path / "out"
    files = find([tmp_path / "in"], out)
    predict(predictor, files, out, ("trainIds",))
    pair = torch.stack([torch.from_numpy(images[n]).permute(2, 0, 1).float() / 255 for n in "xy"])
    expected = TargetNorm(batch_size=2).predictor(checkpoint.network())(pair).argmax(1).numpy()
    for name, classes in zip("xy", expected, strict=True):
        assert np.array_equal(opened(out / f"trainIds/{name}_trainIds.png"), classes)
    whole = {path: (out / path).read_bytes() for path in files_in(out / "trainIds") for path in [f"trainIds/{path}"]}
    (out / "trainIds/y_trainIds.png").unlink()
    assert predict(predictor, files, out, ("trainIds",)).predicted == 3
    assert {path: (out / path).read_bytes() for path in whole} == whole
    assert predict(predictor, files, out, ("trainIds",)).kept == 3


def test_an_adaptation_to_the_whole_target_sees_all_images_first(checkpoint, tmp_path):
    for name in "xyz":
        save(tmp_path / f"in/{name}.png", drawn(ord(name)))
    predictor = ImagePredictor(checkpoint, Counting())
    predict(predictor, find([tmp_path / "in"], "out"), tmp_path / "out", ("trainIds",))
    assert isinstance(predictor.predictor, CountingPredictor) and predictor.predictor.fitted == [2, 1]


def test_the_command_line_chooses_checkpoint_adaptation_inference_and_products(experiment, tmp_path, capsys):
    folder = RunFolder(of_method(experiment, tmp_path, DMG()).path.parents[1])
    save(tmp_path / "x.png", drawn(0))
    way = ["--adaptation", "IaBN(instance_weight=0.2)", "--inference", "MaskEns()", "--device", "cpu"]
    out = tmp_path / "out"
    main(["predict", str(folder.path), str(tmp_path / "x.png"), *way, "--write", "all", "--out", str(out)])
    printed = capsys.readouterr().out
    assert "step 6" in printed and "Mask-Ens · IaBN(instance_weight=0.2), which sees one image" in printed
    assert "1 images predicted" in printed
    assert {path.partition("/")[0] for path in files_in(out)} == {
        "trainIds", "labelIds", "colour", "overlay", "confidence", "masks.csv", "prediction.json", "predictions.jsonl"
    }  # fmt: skip
    found = ImagePredictor(folder.checkpoint_at(6), IaBN(0.2), MaskEns())([drawn(0)])[0].probabilities.argmax(0)
    assert np.array_equal(opened(out / "trainIds/x_trainIds.png"), found.numpy())
    for wrong, message in (
        (["--adaptation", "IaBM()"], "no known Adaptation is called 'IaBM'"),
        (["--device", "abacus"], "--device abacus cannot be used"),
        (["--write", "memory"], "--write memory: DMG"),
    ):
        with pytest.raises(SystemExit):
            main(["predict", str(folder.path), str(tmp_path / "x.png"), "--out", str(tmp_path / "other"), *wrong])
        assert message in capsys.readouterr().err


def test_an_ensemble_predicts_the_mean_in_any_order_and_is_its_own_way(experiment, tmp_path, capsys):
    # Of every seed another step, for what `written` draws hangs on the step alone.
    folders = [written(replace(experiment, seed=seed), tmp_path, steps=(2 * seed + 2,)) for seed in range(3)]
    checkpoints = [folder.checkpoints()[0] for folder in folders]
    (first, *others), image = checkpoints, drawn(0)
    for how in (IaBN(0.2), AdaBN()):
        alone = [ImagePredictor(checkpoint, how) for checkpoint in checkpoints]
        together = [ImagePredictor(one, how, others=[c for c in checkpoints if c != one]) for one in checkpoints]
        for predictor in (*alone, *together):
            if predictor.sees_whole_target:
                predictor.fit(lambda: iter([[image]]))
        members = [predictor([image])[0].probabilities for predictor in alone]
        assert not torch.equal(members[0], members[1])
        expected = (members[0] + members[1] + members[2]) / 3
        for predictor in together:
            torch.testing.assert_close(predictor([image])[0].probabilities, expected)
            assert torch.equal(predictor([image])[0].probabilities, together[0]([image])[0].probabilities)
            assert predictor.way() == together[0].way()
        assert [member["seed"] for member in together[0].way()["ensemble_with"]] == [1, 2]

    Image.fromarray(drawn(0)).save(tmp_path / "x.png")
    out, paths = tmp_path / "out", [str(folder.path) for folder in folders]
    way = ["--adaptation", "AdaBN()", "--write", "trainIds", "--device", "cpu", "--out", str(out)]
    main(["predict", paths[1], str(tmp_path / "x.png"), *way, "--ensemble", paths[2], paths[0]])
    assert f"ensemble of 3: {experiment.name}, seed 0, step 2 and others" in capsys.readouterr().out
    found = Image.open(out / "trainIds/x_trainIds.png")
    assert np.array_equal(np.asarray(found), together[0]([drawn(0)])[0].probabilities.argmax(0).numpy())

    with pytest.raises(ValueError, match="stands twice in the ensemble"):
        ImagePredictor(first, others=[*others, first])
    with pytest.raises(ValueError, match="no one attention"):
        ImagePredictor(first, others=others, attention=True)
    sized = written(replace(experiment, evaluation_size=(32, 64)), tmp_path / "sized").checkpoint_at(6)
    with pytest.raises(ValueError, match=r"predicts 'cityscapes19' with evaluation_size \(32, 64\), .* None: members"):
        ImagePredictor(first, others=[sized])
    with pytest.raises(ValueError, match="holds one checkpoint, and this is an ensemble"):
        exported.write(together[0], tmp_path / "data")
