"""BDD100K: dashcam frames from the United States, labelled with the train ids of Cityscapes."""

from dataclasses import dataclass, replace
from functools import lru_cache

import ijson

from raydg.domains.catalogue.cityscapes import FREQUENT_TRAIN_IDS, TRAIN_ID_TABLES
from raydg.domains.contract import Contract, ExpectedSplit
from raydg.domains.dataset import Dataset, Edition, RawSample
from raydg.domains.layouts import PairedFiles
from raydg.storage import Place

ATTRIBUTES = ("weather", "scene", "timeofday")
"""Of a frame, with values such as rainy, city street, night and undefined (bdd100k/bdd100k, doc/source/format.rst)."""

LABEL_FILES = tuple(
    f"{folder}{name}"
    for folder in ("", "labels/", "bdd100k/labels/")
    for split in ("train", "val")
    for name in (f"bdd100k_labels_images_{split}.json", f"det_20/det_{split}.json")
)
"""Where the labels of the 100k frames of 2018 and of Detection 2020 may lie, which tell weather and time of day.

The 10k frames that have masks are no subset of the 100k, but overlap with them (doc/source/download.rst), in any split:
so all files are asked for every frame, and a frame that none knows has no attributes.
"""


@dataclass(frozen=True)
class Described(PairedFiles):
    """Paired files, with what the label files, where they are there, say of weather, scene and time of day."""

    @property
    def text(self) -> str:
        return (
            f"{super().text} Weather, scene and time of day come from bdd100k_labels_images_{{train,val}}.json or "
            "det_20/det_{train,val}.json, in labels or beside the folders, if there are any."
        )

    def samples(self, raw: Place, domain: str, split: str) -> list[RawSample]:
        samples = super().samples(raw, domain, split)
        files = [raw / name for name in LABEL_FILES] if samples else []
        said: dict[str, tuple[tuple[str, str], ...]] = {}
        for file in files:
            if file.is_file():
                said |= attributes(file, file.info().mtime_ns)
        return [replace(sample, attributes=said.get(sample.image.name, ())) for sample in samples]


@lru_cache(maxsize=len(LABEL_FILES))
def attributes(file: Place, changed: int | None) -> dict[str, tuple[tuple[str, str], ...]]:
    """What a label file says of its frames, by the image's name; `changed`, its time, tells the cache of a new one.

    Raises:
        ValueError: it is no JSON list of frames.
    """
    refused = ValueError(f"{file} is no list of frames with name and attributes, as BDD100K's label files are.")
    said: dict[str, tuple[tuple[str, str], ...]] = {}
    try:
        # Frame by frame: the file of the training frames is too large to be parsed whole.
        with file.filesystem.open_input_stream(file.key) as stream:
            for frame in ijson.items(stream, "item"):
                found = frame.get("attributes") or {}
                said[frame["name"]] = tuple((name, str(found[name])) for name in ATTRIBUTES if name in found)
    except (ijson.JSONError, AttributeError, KeyError, TypeError):
        raise refused from None
    if not said:
        raise refused
    return said


def edition(name: str, images: str, labels: str, source: str) -> Edition:
    return Edition(
        name=name,
        layout=Described(images=images, labels=labels, splits=("train", "val"), archives=("bdd100k",)),
        tables=TRAIN_ID_TABLES,
        contract=Contract(
            edition=f"BDD100K, {name}",
            source=f"7,000 + 1,000 of 1280 x 720: Yu et al., CVPR 2020 (from memory); folders: {source}",
            splits=(
                ExpectedSplit(domain="bdd100k", split="train", samples=7000),
                ExpectedSplit(domain="bdd100k", split="val", samples=1000),
            ),
            sizes=((1280, 720),),
            occurring=FREQUENT_TRAIN_IDS,
        ),
    )


# Ids 0 to 18 and 255 (bdd100k/bdd100k, doc/source/format.rst). The test frames have no published labels.
DATASET = Dataset(
    name="bdd100k",
    title="BDD100K, semantic segmentation (train and val; the labels of test are not published)",
    domains=("bdd100k",),
    editions=tuple(
        edition(name, images, labels, source)
        for name, images, labels, source in (
            (
                "10k",
                "images/10k/{split}/{id}.jpg",
                "labels/sem_seg/masks/{split}/{id}.png",
                "bdd100k/bdd100k, doc/source/download.rst",
            ),
            (
                "seg",
                "seg/images/{split}/{id}.jpg",
                "seg/labels/{split}/{id}_train_id.png",
                "the older release, bdd100k_seg (sukasaha/Documents, dataset_note/bdd100k.py)",
            ),
            (
                "images and labels",
                "images/{split}/{id}.jpg",
                "labels/{split}/{id}_train_id.png",
                "shachoi/RobustNet, README.md",
            ),
        )
    ),
    source="http://bdd-data.berkeley.edu (registration): 10K Images, Segmentation; for the attributes, Labels",
    licence="Education, research and not-for-profit use; commercial use for members of Berkeley DeepDrive only.",
    commercial_use="no",
    citation="Yu et al., BDD100K: A Diverse Driving Dataset for Heterogeneous Multitask Learning, CVPR 2020",
)
