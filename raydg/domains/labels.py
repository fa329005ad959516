"""Label spaces: what the classes are called, and how they are painted."""

import colorsys
from dataclasses import dataclass
from typing import Literal

from raydg.values import Value

IGNORE = 255
"""Label of a pixel that neither trains nor counts. A label space of more than 255 classes, for images, has none."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class LabelSpace(Value):
    """The classes that a prepared domain is labelled with; class c has the id c, `IGNORE` has none.

    Raises:
        ValueError: no class, more than 255 for pixels or 65,535 for images, a name that stands twice, or not as many
            colours as classes.
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
        most = IGNORE if self.task == "segmentation" else 0xFFFF
        self.require(0 < len(self.classes) <= most, "classes", f"1 to {most} names")
        self.require(len(set(self.classes)) == len(self.classes), "classes", "names that differ")
        self.require(len(self.palette) == len(self.classes), "palette", f"{len(self.classes)} colours, one a class")

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def without(self, *classes: str, name: str) -> "LabelSpace":
        """The space called `name` that lacks some of the classes.

        Raises:
            ValueError: one of them is not in this space.
        """
        strangers = set(classes) - set(self.classes)
        if strangers:
            raise ValueError(f"{self.name} has no class {', '.join(sorted(strangers))}: it has {self.classes}.")
        kept = [i for i, each in enumerate(self.classes) if each not in classes]
        return LabelSpace(name, self.task, tuple(self.classes[i] for i in kept), tuple(self.palette[i] for i in kept))


def spread_palette(num_classes: int) -> tuple[Colour, ...]:
    """Colours for classes that have none of their own: hues a golden angle apart, three brightnesses in turn."""
    hues = ((i * 0.618034) % 1.0 for i in range(num_classes))
    colours = (colorsys.hsv_to_rgb(hue, 0.75, (0.9, 0.65, 0.45)[i % 3]) for i, hue in enumerate(hues))
    return tuple((round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in colours)


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

SYNTHIA_16 = CITYSCAPES_19.without("terrain", "truck", "train", name="synthia16")
"""The 16 of the 19 classes that SYNTHIA-RAND-CITYSCAPES is labelled with."""

SYNTHIA_13 = SYNTHIA_16.without("wall", "fence", "pole", name="synthia13")
"""The 13 of them that part of the literature scores when it trains on SYNTHIA (its "mIoU*")."""

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
