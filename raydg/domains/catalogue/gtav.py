"""GTAV: frames of the game Grand Theft Auto V, labelled with the ids of Cityscapes (Playing for Data)."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import ImageStat

from raydg.domains.catalogue.cityscapes import ID_TABLES
from raydg.domains.contract import Contract, ExpectedSplit
from raydg.domains.dataset import Dataset, Edition, RawSample, Subset
from raydg.domains.decoding import RawImage
from raydg.domains.label_table import IGNORED, LabelTable
from raydg.domains.layouts import ListedNames, PairedFiles, RenamedSplits
from raydg.storage import Place

# The label maps are PNGs with the palette of Cityscapes, and the palette INDEX is read. It is the id of Cityscapes, but
# for license plate, -1 there and 34 here (visinf/self-adaptive, datasets/labels.py), which is ignored.
#
# TSMLDG, RobustNet and PintheMemory match the COLOUR instead. Plates are painted in the colour of cars, (0, 0, 142)
# (from memory), so that there they are car; all other classes of the 19 have colours of their own, and come out alike.
TABLES = tuple(LabelTable(table.space, {**table.classes, 34: IGNORED}) for table in ID_TABLES)

# Road, sidewalk, building, pole, vegetation, sky, car: on any drive through the game's city.
FREQUENT_IDS = (7, 8, 11, 17, 21, 23, 26)

SPLIT_FILES = ("split.mat", "read_mapping/split.mat")
"""Where the official split lies: it is in read_mapping.zip, which some unpack into a folder of that name."""

KEYS = (("train", "trainIds"), ("val", "valIds"), ("test", "testIds"))
"""(split, its array of frame numbers in split.mat)."""

ONE_COLOUR = 2.0
"""A frame whose red, green and blue each have a smaller standard deviation, of 255, is of nearly one colour."""


@dataclass(frozen=True)
class NumberedFrames:
    """Flat folders of numbered frames, and the official split.mat with the numbers of every split."""

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(split for split, _ in KEYS)

    @property
    def text(self) -> str:
        return (
            "images images/NNNNN.png, label maps labels/NNNNN.png, numbered from 00001 to 24966, and beside them "
            f"{' or '.join(SPLIT_FILES)} (from read_mapping.zip) with the numbers of train, val and test."
        )

    def samples(self, raw: Place, domain: str, split: str) -> list[RawSample]:
        from scipy.io import loadmat  # here, for importing the catalogue must not take long

        found = [raw / file for file in SPLIT_FILES if (raw / file).is_file()]
        if not found:
            raise ValueError(f"{raw / SPLIT_FILES[0]} is missing. {self.text}")
        key = dict(KEYS)[split]
        try:
            arrays = loadmat(io.BytesIO(found[0].read_bytes()))
        except Exception as error:  # scipy documents none; of a damaged file come ValueError, TypeError and others
            raise ValueError(f"{found[0]} is no MATLAB file: {error}") from None
        if key not in arrays or arrays[key].dtype.kind not in "iuf":
            raise ValueError(f"{found[0]} has no array {key!r} of numbers; it must have {dict(KEYS)}.")
        names = [f"{int(number):05d}" for number in np.sort(arrays[key].ravel())]
        return [RawSample(name, split, raw / f"images/{name}.png", raw / f"labels/{name}.png") for name in names]


def bad_frame(image: RawImage, raw_ids: np.ndarray) -> str | None:
    """Why a frame is known to be bad: its label map has another size, or it is of nearly one colour.

    Some label maps of GTAV have another size than their image: RobustNet skips them in training (datasets/gtav.py),
    self-adaptive deletes them (datasets/gta.py). Which these are is not published, so they are found here.

    RobustNet's list of train has 15 frames less than split.mat; its author remembers having removed "some images that
    consist only of a single color (e.g., The entire image area is black)" (RobustNet, issue 21). How that was decided
    is not published, so this rule is ours, and that it takes out the same 15 is NOT verified. The bound of 2: an image
    black but for one lamp of brightness 200 on a ten-thousandth of it already passes, so no night scene is taken out,
    while noise of a grey value or two around one colour does not.
    """
    width, height = image.size
    if raw_ids.shape != (height, width):
        return f"the label map is {raw_ids.shape[1]} x {raw_ids.shape[0]}, the image {width} x {height} pixels"
    if max(ImageStat.Stat(image.pixels).stddev) < ONE_COLOUR:
        return "the image is of nearly one colour"
    return None


def contract(edition: str, source: str, kept_in_train: int | None = None, **samples: int) -> Contract:
    """What is expected of a copy with so many `samples` in each split."""
    splits = tuple(
        ExpectedSplit(
            domain="gtav", split=split, samples=number, kept_elsewhere=kept_in_train if split == "train" else None
        )
        for split, number in samples.items()
    )
    # Most frames are 1914 x 1052 (TSMLDG, dataset/natural_datasets.py); which other sizes there are is not known here.
    # RobustNet leaves out 15 of 12,403 for their colour; how many label maps have another size is not published.
    return Contract(
        edition=edition,
        source=source,
        splits=splits,
        usual_size=(1914, 1052),
        occurring=FREQUENT_IDS,
        most_excluded=0.01,
    )


def edition(
    name: str, layout: NumberedFrames | ListedNames | PairedFiles | RenamedSplits, expected: Contract
) -> Edition:
    return Edition(
        name=name,
        layout=layout,
        tables=TABLES,
        exclude=bad_frame,
        contract=expected,
        subsets=(Subset("val_first500", "val", 500, "TSMLDG, dataset/natural_datasets.py: len() of val is 500"),),
    )


# Folders for the splits, with any folders below them.
FOLDERS = PairedFiles(
    images="images/{split}/{id}.png", labels="labels/{split}/{id}.png", splits=("train", "val", "test")
)
ROBUSTNET_FOLDERS = RenamedSplits(
    PairedFiles(images=FOLDERS.images, labels=FOLDERS.labels, splits=("train", "valid", "test")),
    splits=("train", "val", "test"),
)
ROBUSTNET = contract(
    "GTAV by RobustNet's lists",
    "shachoi/RobustNet, split_data/gtav_split_*.txt and issue 21: 15 frames less than official in train",
    train=12388,
    val=6382,
    test=6181,
)

DATASET = Dataset(
    name="gtav",
    title="GTAV (Playing for Data)",
    domains=("gtav",),
    editions=(
        edition(
            "official split.mat",
            NumberedFrames(),
            contract(
                "GTAV by split.mat",
                "TSMLDG, dataset/natural_datasets.py; train in RobustNet's list: 12,388",
                kept_in_train=12388,
                train=12403,
                val=6382,
                test=6181,
            ),
        ),
        edition(
            "RobustNet's lists",
            ListedNames(
                images="images/{id}.png",
                labels="labels/{id}.png",
                lists=(
                    ("train", "gtav_split_train.txt"),
                    ("val", "gtav_split_val.txt"),
                    ("test", "gtav_split_test.txt"),
                ),
            ),
            ROBUSTNET,
        ),
        # As self-adaptive's script leaves it, without the frames whose label map has another size: how many, is not
        # published.
        edition(
            "folders train, val, test",
            FOLDERS,
            contract("GTAV in folders", "visinf/self-adaptive, datasets/gta.py"),
        ),
        edition("folders train, valid, test", ROBUSTNET_FOLDERS, ROBUSTNET),
    ),
    source="https://download.visinf.tu-darmstadt.de/data/from_games/ (10 zips of images, 10 of labels; read_mapping)",
    licence="Terms not read. The frames are of a commercial game; its publisher tolerates non-commercial use.",
    commercial_use="unknown",
    citation="Richter, Vineet, Roth and Koltun, Playing for Data: Ground Truth from Computer Games, ECCV 2016",
)
