"""Frames recorded with the CARLA simulator."""

from functools import partial

from raydg.domains.dataset import Dataset, Edition
from raydg.domains.decoding import read_colours
from raydg.domains.label_table import IGNORED, LabelTable
from raydg.domains.labels import IDD_LEVEL1
from raydg.domains.layouts import PairedFiles

# The 13 tags of CARLA 0.9.5 in its Cityscapes colours; raw id i has the colour number i. Not clear: sky has no tag of
# its own and is black like all that is untagged, so black is ignored and sky never occurs; "other" may be anything, so
# it is ignored; grass is tagged as vegetation, so all of that is far; the camera's own bonnet is a vehicle like any
# other and cannot be told apart.
CARLA_TAGS = (
    ((0, 0, 0), IGNORED),  # none, and sky
    ((70, 70, 70), "far objects"),  # building
    ((190, 153, 153), "roadside objects"),  # fence
    ((250, 170, 160), IGNORED),  # other
    ((220, 20, 60), "living things"),  # pedestrian
    ((153, 153, 153), "roadside objects"),  # pole
    ((157, 234, 50), "drivable"),  # road line
    ((128, 64, 128), "drivable"),  # road
    ((244, 35, 232), "non-drivable"),  # sidewalk
    ((107, 142, 35), "far objects"),  # vegetation
    ((0, 0, 142), "vehicles"),  # vehicle
    ((102, 102, 156), "roadside objects"),  # wall
    ((220, 220, 0), "roadside objects"),  # traffic sign
)
CARLA_TO_IDD = LabelTable(IDD_LEVEL1, {tag: name for tag, (_, name) in enumerate(CARLA_TAGS)})

DATASET = Dataset(
    name="carla",
    title="CARLA 0.9.5, frames with labels in Cityscapes colours",
    domains=("carla",),
    # Recorded without splits: all frames are one. There is no contract, for everybody records a set of their own: no
    # number of frames, no size and no tag can be expected.
    editions=(
        Edition(
            name="0.9.5",
            layout=PairedFiles(images="RGB/{id}.png", labels="Segmentation_Images/{id}.png", splits=("all",)),
            tables=(CARLA_TO_IDD,),
            read_label=partial(read_colours, colours=tuple(colour for colour, _ in CARLA_TAGS)),
        ),
    ),
    source="recorded with CARLA 0.9.5, for instance https://github.com/nikos134/Carla-Semantic-Segmentation",
    licence="CARLA's assets are CC BY; recordings have their recorder's terms, often not stated.",
    commercial_use="unknown",
    citation="Dosovitskiy et al., CARLA: An Open Urban Driving Simulator, CoRL 2017",
)
