"""Label spaces: what the classes are called, and how they are painted."""

from dataclasses import dataclass
from typing import Literal

from raydg.values import Value

IGNORE = 255
"""Label of a pixel that neither trains nor counts."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class LabelSpace(Value):
    """The classes that a prepared domain is labelled with; class c has the id c, `IGNORE` has none.

    Raises:
        ValueError: no class, more than 255, a name that stands twice, or as many colours as classes not given.
    """

    name: str
    """What the space is called on disk and in tables."""
    task: Literal["segmentation", "classification"]
    """Whether a label is a map of class ids or one class id."""
    classes: tuple[str, ...]
    """Names in the order of the ids."""
    palette: tuple[Colour, ...]
    """RGB, 0 to 255, of every class, for pictures."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(0 < len(self.classes) <= IGNORE, "classes", "1 to 255 names")
        self.require(len(set(self.classes)) == len(self.classes), "classes", "names that differ")
        self.require(len(self.palette) == len(self.classes), "palette", f"{len(self.classes)} colours, one a class")

    @property
    def num_classes(self) -> int:
        return len(self.classes)


CITYSCAPES_19 = LabelSpace(
    name="cityscapes19",
    task="segmentation",
    classes=(
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
        "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ),
    palette=(
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30),
        (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142),
        (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ),
)  # fmt: skip
"""The 19 training classes of Cityscapes in the order of its trainIds, with its palette."""

IDD_LEVEL1 = LabelSpace(
    name="idd_level1",
    task="segmentation",
    classes=("drivable", "non-drivable", "living things", "vehicles", "roadside objects", "far objects", "sky"),
    palette=(
        (128, 64, 128), (244, 35, 232), (220, 20, 60), (0, 0, 142), (190, 153, 153), (70, 70, 70), (70, 130, 180),
    ),
)  # fmt: skip
"""The 7 classes of the first level of IDD's hierarchy, which IDD-Lite is labelled with."""

PACS_7 = LabelSpace(
    name="pacs7",
    task="classification",
    classes=("dog", "elephant", "giraffe", "guitar", "horse", "house", "person"),
    palette=(
        (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75), (227, 119, 194),
    ),
)  # fmt: skip
"""The 7 classes of PACS; its lists number them 1 to 7, raydg 0 to 6."""
