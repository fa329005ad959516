"""Predicts images that nobody labelled with a checkpoint, and writes what it sees.

<out>/
    prediction.json              with what was predicted: one folder holds predictions of one way only
    predictions.jsonl            a line for every image that is done: name, source, size; of a classifier also its
                                 class and the probabilities of all
    trainIds/<name>_trainIds.png …           see raydg.products
    masks.csv                    DMG's masks, if asked for
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raydg import products
from raydg.adaptation import Adaptation, EnsemblePredictor
from raydg.checkpoint import Checkpoint, RunFolder, write_whole
from raydg.experiment import Experiment
from raydg.frames import File, Frame, Remarks, frames
from raydg.methods import Inference
from raydg.methods.averaged import WithAverage
from raydg.methods.masked import Masked
from raydg.methods.memory import Remembering
from raydg.scoring import PIXELS_AT_ONCE
from raydg.storage import Place
from raydg.values import decode, encode

WEIGHTS = "model.safetensors"

SIZES_AT_ONCE = 8
"""Most sizes of which images wait for others, where sharing a forward is only for speed."""


class Unshowable(ValueError):
    """An adaptation has no single answer to what the method's internals were; no fault of the image."""


def find_checkpoint(location: str | Path) -> Checkpoint:
    """The checkpoint in a folder; in that of a run, the one that its experiment's rule selects.

    Raises:
        ValueError: the folder holds neither, or a run without a checkpoint that can be selected.
    """
    path = Path(location).absolute()
    if (path / WEIGHTS).is_file():
        number = path.name.removeprefix("step_")
        if number == path.name or not number.isdecimal():
            raise ValueError(f"{path} holds a checkpoint, but is not called step_ and a number: give it its name back.")
        return Checkpoint(path)
    if not (path / "checkpoints").is_dir():
        raise ValueError(
            f"{path} is neither a checkpoint (it has no {WEIGHTS}) nor the folder of a run (it has no checkpoints)."
        )
    folder = RunFolder(path)
    kept = folder.checkpoints()
    if not kept:
        raise ValueError(f"{path} has no checkpoint yet: wait for its first, or train it.")
    described = path / "experiment.json"
    experiment = decode(Experiment, json.loads(described.read_text())) if described.is_file() else kept[-1].experiment
    if not folder.validation_rows(experiment):
        raise ValueError(
            f"{path} has no validated checkpoint of its last stage to select: give one, {kept[-1].path} being the last."
        )
    return folder.checkpoint_at(folder.selected(experiment).step)


@dataclass(frozen=True)
class Prediction:
    """What is predicted of one image."""

    probabilities: Tensor
    """(k, h, w) at the image's own size, or (k,) of a classifier; they sum to 1 over the classes."""
    attention: Tensor | None = None
    """Share of each class's row of the memory at every position, (k, h', w'), where it was asked for."""


class ImagePredictor:
    """A checkpoint, or an ensemble of several, under an inference and an adaptation: images (h, w, 3) uint8 to
    probabilities at their own sizes.

    Images are resized to the experiment's `evaluation_size` first, as they are for scores, and probabilities back,
    bilinearly.

    Args:
        checkpoint: what was trained.
        adaptation: how it meets images; None: the first of its experiment.
        inference: how its method predicts; None: the method's own.
        domain: name of the domain that the images are of, for an inference that must know.
        device: where it runs.
        attention: whether to keep the attention to Pin the Memory's memory.
        others: checkpoints that predict with it, each adapting by itself (see `EnsemblePredictor`): other seeds, or
            other methods and networks of the same classes. They may be given in any order: the lowest seed's stands for
            all where one is asked, for the default adaptation and in what is printed.

    Raises:
        ValueError: an inference or adaptation that does not fit, or attention of a method without memory or of an
            ensemble; one checkpoint twice, or of other classes or another size of images.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        adaptation: Adaptation | None = None,
        inference: Inference | None = None,
        domain: str | None = None,
        device: str | torch.device = "cpu",
        attention: bool = False,
        others: Sequence[Checkpoint] = (),
    ) -> None:
        self.checkpoints = in_order([checkpoint, *others])
        checkpoint = self.checkpoints[0]
        experiment = checkpoint.experiment
        self.checkpoint, self.experiment, self.domain = checkpoint, experiment, domain
        self.adaptation = adaptation or experiment.adaptations[0]
        self.inference = inference or checkpoint.method.default_inference()
        members = []
        for member in self.checkpoints:
            replace(member.experiment, adaptations=(self.adaptation,))  # refuses one that does not fit its network
            network = member.network(device, inference or member.method.default_inference(), domain)
            members.append(self.adaptation.predictor(network))
            weight = next(network.parameters())
            self.device, self.dtype = weight.device, weight.dtype
        self.predictor = members[0] if len(members) == 1 else EnsemblePredictor(members)
        if attention and others:
            raise ValueError("An ensemble has no one attention to show: predict with each checkpoint by itself.")
        self.memory = memory_of(self.predictor.network) if attention else None
        if attention and self.memory is None:
            raise ValueError(f"{type(checkpoint.method).__name__} has no memory whose attention could be shown.")

    def __str__(self) -> str:
        """What predicts, and how, in a line."""
        step, adaptation = self.checkpoint.step, self.adaptation
        way = f"{self.inference.label} · {adaptation.label}, which sees {adaptation.sees}"
        who = f"{self.experiment.name}, seed {self.experiment.seed}, step {step}"
        if len(self.checkpoints) > 1:
            who = f"ensemble of {len(self.checkpoints)}: {who} and others"
        return f"{who} · {way} · {self.device}"

    @property
    def sees_whole_target(self) -> bool:
        """Whether `fit` must see all images before the first is predicted."""
        return self.adaptation.needs_fit

    def size_of(self, image: np.ndarray) -> tuple[int, int]:
        """Height and width at which the network sees an image."""
        return self.experiment.evaluation_size or (image.shape[0], image.shape[1])

    def tensor(self, images: Sequence[np.ndarray]) -> Tensor:
        """Images of one `size_of` as the network sees them, (b, 3, h, w) in [0, 1]."""
        scaled = []
        for image in images:
            pixels = torch.tensor(image, device=self.device).permute(2, 0, 1)[None]
            one, size = pixels.to(self.dtype) / 255, self.size_of(image)
            if tuple(one.shape[-2:]) != tuple(size):
                one = F.interpolate(one, size, mode="bilinear", align_corners=False, antialias=True)
            scaled.append(one)
        return torch.cat(scaled).contiguous(memory_format=torch.channels_last)

    def fit(self, read: Callable[[], Iterable[Sequence[np.ndarray]]]) -> None:
        """Show an adaptation that sees the whole target all images, in batches of one `size_of`; `read` gives them, to
        the members of an ensemble one after another."""
        for member in self.predictor.members:
            member.fit(self.tensor(batch) for batch in read())

    def __call__(self, images: Sequence[np.ndarray]) -> list[Prediction]:
        """Predictions of images that the adaptation meets together; they share `size_of`.

        Raises:
            ValueError: images that the network or the adaptation refuses, or an adaptation that has no one attention.
        """
        if self.memory is None:
            probabilities, attention = self.predictor(self.tensor(images)), None
        else:
            with attention_of(self.memory) as seen:
                probabilities = self.predictor(self.tensor(images))
            if len(seen) != 1 or len(seen[0]) != len(images):
                raise Unshowable(
                    f"{self.adaptation.label} predicts from {len(seen)} forwards, so there is no one attention to "
                    "show: take an adaptation of one forward, such as TrainBN(), or do not ask for the memory."
                )
            attention = seen[0]
        made = []
        for number, image in enumerate(images):
            one, size = probabilities[number], image.shape[:2]
            if one.ndim == 3 and tuple(one.shape[-2:]) != tuple(size):
                one = F.interpolate(one[None], size, mode="bilinear", align_corners=False)[0]
            made.append(Prediction(one, None if attention is None else attention[number]))
        return made

    def batches(self, images: Iterable[Frame]) -> Iterator[list[Frame]]:
        """Images in the batches that the adaptation meets them in, each of one `size_of`.

        Where it sees a batch, neighbours among those of a size share it, in the order that they come in; where it
        remembers, a batch ends where the size changes, so that the order stays. Scores draw batches at random instead.
        """
        waiting: dict[tuple[int, int], list[Frame]] = {}
        alone = self.adaptation.sees == "one image"
        for frame in images:
            size = self.size_of(frame.pixels)
            if self.adaptation.keeps_state and size not in waiting:
                yield from waiting.values()
                waiting.clear()
            elif alone and len(waiting) == SIZES_AT_ONCE and size not in waiting:
                yield waiting.pop(next(iter(waiting)))  # images of ever new sizes must not fill the memory
            batch = waiting.setdefault(size, [])
            batch.append(frame)
            # Small images are predicted several at a time where that changes nothing but speed.
            full = max(1, PIXELS_AT_ONCE // (size[0] * size[1])) if alone else self.adaptation.batch_size
            if len(batch) >= full:
                yield waiting.pop(size)
        yield from waiting.values()

    def way(self) -> dict[str, Any]:
        """What decides a prediction, as JSON."""
        first, *others = (
            {"experiment": c.experiment.name, "seed": c.experiment.seed} | _weights(c) for c in self.checkpoints
        )
        return {
            **first,
            "inference": encode(self.inference),
            "adaptation": encode(self.adaptation),
            "domain": self.domain,
            **({"ensemble_with": others} if others else {}),
        }


def in_order(checkpoints: Sequence[Checkpoint]) -> tuple[Checkpoint, ...]:
    """Members of an ensemble by their seeds, so that the order in which they were named decides nothing.

    Raises:
        ValueError: one twice, or some that predict other classes or see images at another size.
    """
    paths = [checkpoint.path.resolve() for checkpoint in checkpoints]
    for path in paths:
        if paths.count(path) > 1:
            raise ValueError(f"{path} stands twice in the ensemble: name every checkpoint once.")
    experiments = {checkpoint: checkpoint.experiment for checkpoint in checkpoints}
    first = experiments[checkpoints[0]]
    for checkpoint, other in experiments.items():
        if (other.label_space, other.evaluation_size) != (first.label_space, first.evaluation_size):
            what, that = (f"{e.label_space.name!r} with evaluation_size {e.evaluation_size}" for e in (other, first))
            raise ValueError(
                f"{checkpoint.path} predicts {what}, {checkpoints[0].path} {that}: members of an ensemble must have "
                "the same classes and see images at the same size."
            )
    return tuple(sorted(checkpoints, key=lambda each: (experiments[each].seed, str(each.path.resolve()))))


def _weights(checkpoint: Checkpoint) -> dict[str, Any]:
    sha256 = hashlib.sha256((checkpoint.path / WEIGHTS).read_bytes()).hexdigest()
    return {"step": checkpoint.step, "weights_sha256": sha256}


def memory_of(network: nn.Module) -> Remembering | None:
    """What reads a memory inside a network, if one does."""
    found = [module for module in network.modules() if isinstance(module, Remembering)]
    return found[0] if len(found) == 1 else None


class attention_of:
    """Collects the attention (b, k, h', w') of every forward in the block."""

    def __init__(self, memory: Remembering) -> None:
        self.memory, self.seen = memory, []

    def __enter__(self) -> list[Tensor]:
        plain = self.memory.attention

        def attention(scores: Tensor) -> Tensor:
            shares = plain(scores)
            self.seen.append(shares.detach())
            return shares

        # The very attention that the prediction was made with: where it is drawn, another draw would differ.
        self.memory.attention = attention
        return self.seen

    def __exit__(self, *error: object) -> None:
        del self.memory.attention


def masks_of(checkpoint: Checkpoint) -> Masked | None:
    """DMG's masks in what a checkpoint holds, if it has some."""
    model = checkpoint.model()
    if isinstance(model, WithAverage):
        model = model.average
    return model if isinstance(model, Masked) else None


def predict(
    predictor: ImagePredictor,
    files: Sequence[File],
    out: str | Path,
    write: Sequence[str],
    upright: bool = False,
    overwrite: bool = False,
    done: Callable[[Frame], None] = lambda frame: None,
) -> "Outcome":
    """Predict the images of files, and write what is asked for of each; what cannot be predicted is left out.

    What `out` has already stays as it is, and is not predicted again; where a prediction depends on other images too,
    all are predicted again unless all are there.

    Args:
        predictor: the network; one made with `attention` where `write` has "memory".
        files: as `raydg.frames.find` gives them.
        out: folder, see the head of this file.
        write: names of products, see `raydg.products.legal`.
        upright: whether images are turned as their EXIF orientation says.
        overwrite: whether to predict again what is there.
        done: called after each image.

    Raises:
        ValueError: a product that there is none of, or a folder that holds predictions of another way, or of other
            files under the same names.
    """
    space = predictor.experiment.label_space
    products.check(write, predictor.experiment, predictor.checkpoint.method)
    if "masks" in write and len(predictor.checkpoints) > 1:
        raise ValueError("--write masks: every member of an ensemble has its own; predict with one checkpoint.")
    record = Record.open(Path(out), predictor.way() | {"upright": upright}, files, overwrite)
    if "masks" in write and (masked := masks_of(predictor.checkpoint)):
        table = products.masks_table(masked.probabilities(), predictor.experiment.source_names)
        Place.at(Path(out) / "masks.csv").write_bytes(table.encode())
    each = [product for product in write if product != "masks"]

    def there(name: str) -> bool:
        paths = [path for product in each for path in products.paths(product, name, space)]
        return name in record.lines and all((Path(out) / path).is_file() for path in paths)

    depends = predictor.adaptation.sees != "one image"
    again = depends and not all(not file.is_video and there(file.name) for file in files)
    outcome = Outcome({}, {})

    def wanted(name: str, source: str) -> bool:
        record.check(name, source)
        if again or not there(name):
            return True
        outcome.kept += 1
        return False

    if predictor.sees_whole_target and again:

        def read() -> Iterator[list[np.ndarray]]:
            seen = frames(files, wanted, upright, Remarks({}, {}))  # remarks are made when they are predicted
            return ([frame.pixels for frame in batch] for batch in predictor.batches(seen))

        predictor.fit(read)
    for batch in predictor.batches(frames(files, wanted, upright, outcome)):
        try:
            predictions = predictor([frame.pixels for frame in batch])
        except Unshowable:
            raise
        except ValueError as error:
            outcome.faults |= {frame.source: str(error) for frame in batch}
            continue
        for frame, prediction in zip(batch, predictions, strict=True):
            line: dict[str, Any] = {"image": frame.name, "source": frame.source}
            line |= {"height": frame.pixels.shape[0], "width": frame.pixels.shape[1]}
            line |= products.facts(prediction.probabilities, prediction.attention, space)
            for product in each:
                for path, data in products.files(product, frame, prediction, space).items():
                    Place.at(Path(out) / path).write_bytes(data)
            record.add(line)
            outcome.predicted += 1
            done(frame)
    return outcome


@dataclass
class Outcome(Remarks):
    """What became of the files."""

    predicted: int = 0
    """Images."""
    kept: int = 0
    """Images whose predictions were there already."""

    def summary(self) -> str:
        """In lines, the bad files last."""
        lines = [f"{self.predicted} images predicted" + (f", {self.kept} were there already" if self.kept else "")]
        lines += [f"note: {file}: {note}" for file, note in self.notes.items()]
        if self.faults:
            lines.append(f"{len(self.faults)} could not be predicted:")
            # Most reasons begin with the file's name.
            lines += [f"  {why}" if file in why else f"  {file}: {why}" for file, why in self.faults.items()]
        return "\n".join(lines)


class Record:
    """What a folder of predictions holds: a line for every image, added when all of its files are there."""

    def __init__(self, path: Path, lines: dict[str, dict[str, Any]]) -> None:
        self.path, self.lines = path, lines

    @classmethod
    def open(cls, out: Path, way: dict[str, Any], files: Sequence[File], overwrite: bool) -> "Record":
        """The record of a folder, new where there is none; with `overwrite` without the images of `files`.

        Raises:
            ValueError: the folder holds predictions of another way that would stay beside the new ones.
        """
        description, path = out / "prediction.json", out / "predictions.jsonl"
        lines: dict[str, dict[str, Any]] = {}
        if path.exists():
            text = path.read_text()
            # A last line that a kill cut short is left out: its image is predicted again.
            for line in text[: text.rfind("\n") + 1].splitlines():
                lines |= {(read := json.loads(line))["image"]: read}
        if overwrite:
            names, videos = {f.name for f in files}, tuple(f"{f.name}/" for f in files if f.is_video)
            lines = {n: line for n, line in lines.items() if n not in names and not (videos and n.startswith(videos))}
        if lines and (there := json.loads(description.read_text())) != way:
            differs = ", ".join(key for key in way if there.get(key) != way[key])
            raise ValueError(
                f"{out} holds predictions that were made in another way ({differs}): choose another folder"
                + ("." if overwrite else ", or --overwrite them.")
            )
        record = cls(path, lines)
        for file in files:
            record.check(file.name, str(file.path))
        out.mkdir(parents=True, exist_ok=True)
        write_whole(description, json.dumps(way, indent=1))
        write_whole(path, "".join(json.dumps(line) + "\n" for line in lines.values()))
        return record

    def check(self, name: str, source: str) -> None:
        """Raise a ValueError if the image that is recorded under a name is another one."""
        if name in self.lines and self.lines[name]["source"] != source:
            raise ValueError(
                f"{self.path.parent} holds a prediction of {self.lines[name]['source']} under the name {name!r}, which "
                f"{source} would get: choose another folder, or --overwrite it."
            )

    def add(self, line: dict[str, Any]) -> None:
        self.lines[line["image"]] = line
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
