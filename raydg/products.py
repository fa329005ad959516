"""What is written of a prediction: label maps, pictures, confidence, and what the method has inside."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from raydg.domains.catalogue.cityscapes import CITYSCAPES_TO_19
from raydg.domains.decoding import png
from raydg.domains.labels import LabelSpace
from raydg.experiment import Experiment
from raydg.frames import Frame
from raydg.inspection import overlay
from raydg.methods import DMG, Averaged, Method, PinTheMemory
from raydg.pictures import paint

if TYPE_CHECKING:
    from raydg.prediction import Prediction

MAPS = ("trainIds", "labelIds", "colour", "overlay", "confidence")
"""One PNG an image, at its own size: `<product>/<name>_<product>.png`.

trainIds     id of the most probable class in the label space, 8 bit; for `cityscapes19` Cityscapes' trainIds
labelIds     its id in Cityscapes' full list, which its server wants: the folder holds nothing else, to be uploaded as
             it is
colour       the label space's palette
overlay      that over the image
confidence   probability of the most probable class, 0 to 255 standing for 0 to 1
"""

RAW_IDS = {name: raw_id for raw_id, name in CITYSCAPES_TO_19.classes.items()}
"""Id of each of the 19 classes in Cityscapes' full list."""


def legal(experiment: Experiment, method: Method) -> tuple[str, ...]:
    """The products that there are of a method's predictions in an experiment's label space.

    Beside `MAPS`: "memory", Pin the Memory's attention to each class's row, `memory/<name>/<class>.png`, 0 to 255
    standing for 0 to the largest share in the image, which the image's line records as `memory_white`; "masks", DMG's
    keep-probabilities, one table `masks.csv`. A classifier's classes and probabilities stand in the record.
    """
    space, own = experiment.label_space, method.method if isinstance(method, Averaged) else method
    names = [name for name in MAPS if name != "labelIds" or set(space.classes) <= RAW_IDS.keys()]
    if space.task == "classification":
        names = []
    if isinstance(own, PinTheMemory) and own.memory:
        names.append("memory")
    if isinstance(own, DMG):
        names.append("masks")
    return tuple(names)


def default(experiment: Experiment, method: Method) -> tuple[str, ...]:
    """All that there are but the memory, which is a file for every class."""
    return tuple(name for name in legal(experiment, method) if name != "memory")


def check(write: Sequence[str], experiment: Experiment, method: Method) -> None:
    """Raise a ValueError if a product is asked for that there is none of."""
    known = legal(experiment, method)
    for name in write:
        if name not in known:
            raise ValueError(
                f"--write {name}: {type(method).__name__} with the label space {experiment.label_space.name!r} has "
                f"{', '.join(known) or 'nothing to write but the record'}."
            )


def paths(product: str, name: str, space: LabelSpace) -> list[str]:
    """Where a product of the image called `name` is written, relative to the folder of predictions."""
    if product == "memory":
        classes = [re.sub(r"\W+", "_", each) for each in space.classes]
        return [f"memory/{name}/{c:02d}_{each}.png" for c, each in enumerate(classes)]
    return [f"{product}/{name}_{product}.png"]


def files(product: str, frame: Frame, prediction: "Prediction", space: LabelSpace) -> dict[str, bytes]:
    """The files of a product by their paths."""
    where = paths(product, frame.name, space)
    if product == "memory":
        assert prediction.attention is not None
        size = frame.pixels.shape[:2]
        shares = F.interpolate(prediction.attention[None].float(), size, mode="bilinear", align_corners=False)[0]
        white = white_of(prediction.attention)
        return {path: grey(share / white) for path, share in zip(where, shares, strict=True)}
    return {where[0]: _map(product, frame, prediction.probabilities, space)}


def _map(product: str, frame: Frame, probabilities: Tensor, space: LabelSpace) -> bytes:
    confidence, classes = probabilities.max(0)
    if product == "confidence":
        return grey(confidence)
    ids = classes.to(torch.uint8).cpu().numpy()
    if product == "labelIds":
        ids = np.array([RAW_IDS[name] for name in space.classes], np.uint8)[ids]
    elif product == "colour":
        ids = paint(ids, space)
    elif product == "overlay":
        ids = overlay(frame.pixels, ids, space)
    return png(Image.fromarray(ids))


def grey(values: Tensor) -> bytes:
    """A PNG of values (h, w), of which 0 is black and 1 white."""
    return png(Image.fromarray((values.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()))


def white_of(attention: Tensor) -> float:
    """The share that an image's attention maps show as white."""
    return float(attention.max())


def facts(probabilities: Tensor, attention: Tensor | None, space: LabelSpace) -> dict[str, Any]:
    """What the record says of a prediction: a classifier's class and probabilities, a map's mean confidence."""
    if probabilities.ndim == 1:
        of = dict(zip(space.classes, probabilities.double().tolist(), strict=True))
        best = max(of, key=lambda name: of[name])
        return {"class": best, "confidence": of[best], "probabilities": of}
    found = {"confidence": float(probabilities.amax(0).double().mean())}
    return found | ({} if attention is None else {"memory_white": white_of(attention)})


def masks_table(masks: Mapping[str, Tensor], sources: Sequence[str]) -> str:
    """Keep-probabilities (d, c) of each site as CSV: a line for every unit, a column for every source."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["site", "unit", *sources])
    for site, of_site in masks.items():
        table.writerows([site, unit, *map(float, of_unit)] for unit, of_unit in enumerate(of_site.T.cpu()))
    return text.getvalue()
