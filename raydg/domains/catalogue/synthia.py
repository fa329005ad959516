"""SYNTHIA-RAND-CITYSCAPES: rendered streets, labelled with 16 of the 19 classes of Cityscapes."""

from dataclasses import dataclass

import numpy as np

from raydg.domains.contract import Contract, ExpectedSplit
from raydg.domains.dataset import Dataset, Edition, Layout, RawSample, Subset
from raydg.domains.decoding import read_ids, read_red_of_16_bits
from raydg.domains.label_table import IGNORED, LabelTable
from raydg.domains.labels import CITYSCAPES_19, IDD_LEVEL1, SYNTHIA_13, SYNTHIA_16
from raydg.domains.layouts import ListedNames, PairedFiles
from raydg.storage import Place

# Ids by name: RobustNet, datasets/synthia.py, and self-adaptive, datasets/labels.py, agree. Terrain (16), truck (18)
# and train (20) are classes of the 19 as in TSMLDG, RobustNet and PintheMemory, though hardly a pixel has them; within
# the 16 they are ignored, as in self-adaptive. Void (0), parking slot (13), road work (14) and lane marking (22) have
# no class in either.
SYNTHIA_TO_19 = LabelTable(
    CITYSCAPES_19,
    {
        **dict.fromkeys((0, 13, 14, 22), IGNORED),
        1: "sky", 2: "building", 3: "road", 4: "sidewalk", 5: "fence", 6: "vegetation", 7: "pole", 8: "car",
        9: "traffic sign", 10: "person", 11: "bicycle", 12: "motorcycle", 15: "traffic light", 16: "terrain",
        17: "rider", 18: "truck", 19: "bus", 20: "train", 21: "wall",
    },
)  # fmt: skip

# As CITYSCAPES_TO_IDD. A parking slot and a lane marking are drivable ground. Not clear: road work may be a fence, a
# cone or dug-up ground; ignored.
SYNTHIA_TO_IDD = LabelTable(
    IDD_LEVEL1,
    {
        **dict.fromkeys((0, 14), IGNORED),
        **dict.fromkeys((3, 13, 22), "drivable"),
        **dict.fromkeys((4, 16), "non-drivable"),
        **dict.fromkeys((10, 17), "living things"),
        **dict.fromkeys((8, 11, 12, 18, 19, 20), "vehicles"),
        **dict.fromkeys((5, 7, 9, 15, 21), "roadside objects"),
        **dict.fromkeys((2, 6), "far objects"),
        1: "sky",
    },
)

TABLES = (SYNTHIA_TO_19, SYNTHIA_TO_19.within(SYNTHIA_16), SYNTHIA_TO_19.within(SYNTHIA_13), SYNTHIA_TO_IDD)

SEED, TRAIN_SHARE = 12345, 0.7
IMAGES, LABELS = "RGB/{id}.png", "GT/LABELS/{id}.png"


@dataclass(frozen=True)
class ShuffledFrames:
    """Flat folders, split as TSMLDG does: shuffled by a seed, the first 7 of 10 are train.

    The file names, sorted, are shuffled by numpy's RandomState(12345), the floor of 0.7 of them is train and the rest
    val; each is then sorted again (koncle/TSMLDG, dataset/splitter.py: ZeroLevelKFoldSplitter). The permutation depends
    on how many files there are, so only a full copy has this split.
    """

    splits: tuple[str, ...] = ("train", "val")

    @property
    def text(self) -> str:
        return (
            f"images {IMAGES}, label maps {LABELS} in flat folders, all 9,400 of them; train and val are drawn by "
            "TSMLDG's seed. With synthia_split_train.txt and synthia_split_val.txt (RobustNet's) beside the folders, "
            "these are used instead."
        )

    def samples(self, raw: Place, domain: str, split: str) -> list[RawSample]:
        # Not the folders below: RGB/train/… belongs to another edition.
        files = [*(raw / "RGB").files(recursive=False), *(raw / "GT/LABELS").files(recursive=False)]
        names = sorted({name.removesuffix(".png") for name in files if name.endswith(".png")})
        np.random.RandomState(SEED).shuffle(names)
        border = int(TRAIN_SHARE * len(names))
        chosen = sorted(names[:border] if split == "train" else names[border:])
        return [RawSample(name, split, raw / IMAGES.format(id=name), raw / LABELS.format(id=name)) for name in chosen]


def edition(name: str, layout: Layout, source: str, counted: bool = True, eight_bits: bool = False) -> Edition:
    splits = tuple(
        ExpectedSplit(domain="synthia", split=split, samples=n) for split, n in (("train", 6580), ("val", 2820))
    )
    return Edition(
        name=name,
        layout=layout,
        tables=TABLES,
        read_label=read_ids if eight_bits else read_red_of_16_bits,
        contract=Contract(
            edition=f"SYNTHIA-RAND-CITYSCAPES, {name}",
            source=f"{source}; 1280 x 760: TSMLDG, dataset/natural_datasets.py",
            splits=splits if counted else (),
            sizes=((1280, 760),),
            occurring=(1, 2, 3, 4, 6, 7, 8, 10),  # sky, building, road, sidewalk, vegetation, pole, car, person
        ),
        subsets=(Subset("val_first500", "val", 500, "TSMLDG, dataset/natural_datasets.py: len() of val is 500"),),
    )


DATASET = Dataset(
    name="synthia",
    title="SYNTHIA-RAND-CITYSCAPES",
    domains=("synthia",),
    editions=(
        # Before the seed's split, which fits the same folders: who puts lists there means them.
        edition(
            "RobustNet's lists",
            ListedNames(IMAGES, LABELS, (("train", "synthia_split_train.txt"), ("val", "synthia_split_val.txt"))),
            "shachoi/RobustNet, split_data/synthia_split_*.txt",
        ),
        edition("TSMLDG's seed", ShuffledFrames(), "koncle/TSMLDG, dataset/splitter.py, on 9,400 frames"),
        edition(
            "folders train, val",
            PairedFiles("RGB/{split}/{id}.png", "GT/LABELS/{split}/{id}.png", ("train", "val")),
            "shachoi/RobustNet, README.md and split_data/synthia_split_*.txt",
        ),
        # Converted to 8 bits and named like Cityscapes, with any folders below the splits. The script is not published,
        # so how many frames each split has is not known.
        edition(
            "8 bits, named like Cityscapes",
            PairedFiles(
                "leftImg8bit/{split}/{id}_leftImg8bit.png", "gtFine/{split}/{id}_gtFine_labelIds.png", ("train", "val")
            ),
            "visinf/self-adaptive, datasets/synthia.py",
            counted=False,
            eight_bits=True,
        ),
    ),
    source="http://synthia-dataset.net/downloads (SYNTHIA-RAND-CITYSCAPES; RAW is its folder RAND_CITYSCAPES)",
    licence="Not read; CC BY-NC-SA 3.0, which is non-commercial, from memory.",
    commercial_use="unknown",
    citation="Ros, Sellart, Materzynska, Vazquez and Lopez, The SYNTHIA Dataset, CVPR 2016",
)
