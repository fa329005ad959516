"""IDD, the India Driving Dataset for segmentation, part I and part II ("IDD 20k")."""

import json

import numpy as np
from PIL import Image, ImageDraw

from raydg.domains.catalogue.cityscapes import CITYSCAPES_TO_19, CITYSCAPES_TO_IDD
from raydg.domains.contract import Contract, ExpectedSplit
from raydg.domains.dataset import Dataset, Edition
from raydg.domains.decoding import BadSample, read, read_ids
from raydg.domains.label_table import IGNORED, LabelTable
from raydg.domains.labels import CITYSCAPES_19, IDD_LEVEL1, SYNTHIA_13, SYNTHIA_16
from raydg.domains.layouts import PairedFiles
from raydg.storage import Place

# The classes of AutoNUE/public-code, helpers/anue_labels.py, in the order of its ids: name, the class that its
# csTrainId stands for, and the one that its level1Id stands for. Both columns are the same before and after that file's
# csIds were changed (below). Its level 1 counts "fallback background" as sky.
CLASSES = (
    ("road", "road", "drivable"),
    ("parking", IGNORED, "drivable"),
    ("drivable fallback", IGNORED, "drivable"),
    ("sidewalk", "sidewalk", "non-drivable"),
    ("rail track", IGNORED, "non-drivable"),
    ("non-drivable fallback", "terrain", "non-drivable"),
    ("person", "person", "living things"),
    ("animal", IGNORED, "living things"),
    ("rider", "rider", "living things"),
    ("motorcycle", "motorcycle", "vehicles"),
    ("bicycle", "bicycle", "vehicles"),
    ("autorickshaw", IGNORED, "vehicles"),
    ("car", "car", "vehicles"),
    ("truck", "truck", "vehicles"),
    ("bus", "bus", "vehicles"),
    ("caravan", IGNORED, "vehicles"),
    ("trailer", IGNORED, "vehicles"),
    ("train", "train", "vehicles"),
    ("vehicle fallback", IGNORED, "vehicles"),
    ("curb", IGNORED, "roadside objects"),
    ("wall", "wall", "roadside objects"),
    ("fence", "fence", "roadside objects"),
    ("guard rail", IGNORED, "roadside objects"),
    ("billboard", IGNORED, "roadside objects"),
    ("traffic sign", "traffic sign", "roadside objects"),
    ("traffic light", "traffic light", "roadside objects"),
    ("pole", "pole", "roadside objects"),
    ("polegroup", IGNORED, "roadside objects"),
    ("obs-str-bar-fallback", IGNORED, "roadside objects"),
    ("building", "building", "far objects"),
    ("bridge", IGNORED, "far objects"),
    ("tunnel", IGNORED, "far objects"),
    ("vegetation", "vegetation", "far objects"),
    ("sky", "sky", "sky"),
    ("fallback background", IGNORED, "sky"),
    ("unlabeled", IGNORED, IGNORED),
    ("ego vehicle", IGNORED, IGNORED),
    ("rectification border", IGNORED, IGNORED),
    ("out of roi", IGNORED, IGNORED),
    ("license plate", IGNORED, IGNORED),
)
IDS = {name: raw_id for raw_id, (name, _, _) in enumerate(CLASSES)}


def read_polygons(place: Place) -> np.ndarray:
    """A `_gtFine_polygons.json` file painted as AutoNUE's createLabels does it: (h, w) uint8, positions in `CLASSES`.

    Polygons are painted in the order of the file, later ones over earlier ones; what none covers is unlabeled. Deleted
    ones are passed over before their label is looked at, for some have labels that are no classes. Polygons without
    area, which part II has (AutoNUE/public-code, issue 5: an empty list), paint nothing, where createLabels fails.
    Other versions of Pillow may set other pixels along an edge.

    Raises:
        BadSample: the file is missing, cannot be understood or names an unknown class.
    """
    data = read(place)
    try:
        annotation = json.loads(data)
        size = (int(annotation["imgWidth"]), int(annotation["imgHeight"]))
        drawn = [
            (str(entry["label"]), [(float(x), float(y)) for x, y in entry["polygon"]])
            for entry in annotation["objects"]
            if not int(entry.get("deleted", 0))
        ]
        canvas = Image.new("L", size, IDS["unlabeled"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadSample(
            f"{place} cannot be read as polygons ({type(error).__name__}: {error}); it must be JSON with imgWidth, "
            "imgHeight and objects, each with label and polygon"
        ) from None
    draw = ImageDraw.Draw(canvas)
    for label, polygon in drawn:
        name = label if label in IDS else label.removesuffix("group")
        if name not in IDS:
            raise BadSample(f"{place} has a polygon of {label!r}, which is no class of IDD; known are {', '.join(IDS)}")
        if len(polygon) > 1:
            draw.polygon(polygon, fill=IDS[name])
    return np.asarray(canvas)


def to_spaces(to_19: LabelTable, to_level1: LabelTable) -> tuple[LabelTable, ...]:
    """Tables for the label spaces that every form of IDD has."""
    return (to_19, to_19.within(SYNTHIA_16), to_19.within(SYNTHIA_13), to_level1)


FROM_POLYGONS = to_spaces(
    LabelTable(CITYSCAPES_19, {raw_id: name for raw_id, (_, name, _) in enumerate(CLASSES)}),
    LabelTable(IDD_LEVEL1, {raw_id: name for raw_id, (_, _, name) in enumerate(CLASSES)}),
)

# Level 1 loses what has no csTrainId: parking and drivable fallback; rail track; animals; autorickshaws, caravans,
# trailers and vehicle fallback; curbs, guard rails, billboards, pole groups and obs-str-bar-fallback; bridges and
# tunnels; fallback background. All of that is ignored there: take the polygons for a whole level 1.
FROM_TRAIN_IDS = to_spaces(
    LabelTable(CITYSCAPES_19, {**dict(enumerate(CITYSCAPES_19.classes)), 255: IGNORED}),
    LabelTable(
        IDD_LEVEL1,
        {
            **{CITYSCAPES_19.classes.index(name): level1 for _, name, level1 in CLASSES if name != IGNORED},
            255: IGNORED,
        },
    ),
)

# What csIds mean depends on the version of createLabels that wrote them. The older one gives Cityscapes ids to all: it
# calls autorickshaws cars (26), vehicle fallback train (31), animals persons (24), drivable fallback ground (6),
# non-drivable fallback terrain (22), and billboards, obs-str-bar-fallback and fallback background static (4). The newer
# one gives all these 255, so that terrain does not occur (and vehicle fallback 355, which Pillow paints as 255). The
# files do not tell which it was, so results from csIds are not comparable to those from csTrainIds. Ground is drivable
# here, for in IDD it is nothing else; static may be roadside objects or background, so it is ignored.
FROM_CITYSCAPES_IDS = to_spaces(
    LabelTable(CITYSCAPES_19, {**CITYSCAPES_TO_19.classes, 255: IGNORED}),
    LabelTable(IDD_LEVEL1, {**CITYSCAPES_TO_IDD.classes, 6: "drivable", 255: IGNORED}),
)

PART_I = "IDD part I"
BOTH_PARTS = "IDD parts I and II"
COUNTS = {PART_I: (("train", 6993), ("val", 981)), BOTH_PARTS: (("train", 14027), ("val", 2036))}

# Images of part I are PNG files, of part II JPEG ones. So a copy with both has more pairs that fit the editions of both
# parts, and is told by that from one of part I alone.
ARCHIVES = {PART_I: ("IDD_Segmentation",), BOTH_PARTS: ("IDD_Segmentation", "idd20kII")}
ENDINGS = {PART_I: ("png",), BOTH_PARTS: ("png", "jpg")}


def edition(parts: str, form: str, ending: str, tables: tuple[LabelTable, ...], occurring: tuple[int, ...]) -> Edition:
    """One of `COUNTS` with labels in one form, whose files end with `_gtFine_<ending>`."""
    return Edition(
        name=f"{parts}, {form}",
        layout=PairedFiles(
            images=tuple(f"leftImg8bit/{{split}}/{{id}}_leftImg8bit.{image}" for image in ENDINGS[parts]),
            labels=(f"gtFine/{{split}}/{{id}}_gtFine_{ending}",),
            splits=("train", "val"),
            archives=ARCHIVES[parts],
        ),
        tables=tables,
        read_label=read_polygons if form == "polygons" else read_ids,
        contract=Contract(
            edition=parts,
            source=(
                "files counted in copies of both parts: 6,993 and 981 PNG images (also koncle/TSMLDG, "
                "dataset/natural_datasets.py), 7,034 and 1,055 JPEG images; image sizes vary and are not checked"
            ),
            splits=tuple(ExpectedSplit(domain="idd", split=split, samples=samples) for split, samples in COUNTS[parts]),
            occurring=occurring,
        ),
    )


def forms(parts: str) -> tuple[Edition, ...]:
    """The editions of `parts`, the form that most published numbers are of first."""
    # road, building, pole, vegetation, sky, person, rider, car, truck, motorcycle; of the train ids also bicycle, the
    # last
    return (
        edition(parts, "csTrainIds", "labelcsTrainIds.png", FROM_TRAIN_IDS, (0, 2, 5, 8, 10, 11, 12, 13, 14, 17, 18)),
        edition(parts, "csIds", "labelcsIds.png", FROM_CITYSCAPES_IDS, (7, 11, 17, 21, 23, 24, 25, 26, 27, 32)),
        edition(parts, "polygons", "polygons.json", FROM_POLYGONS, (0, 29, 26, 32, 33, 6, 8, 12, 13, 9)),
    )


DATASET = Dataset(
    name="idd",
    title="IDD segmentation, part I or parts I and II",
    domains=("idd",),
    editions=(*forms(PART_I), *forms(BOTH_PARTS)),
    source=(
        "https://idd.insaan.iiit.ac.in (registration): IDD Segmentation (IDD 20k Part I) and Part II. The PNG label "
        "maps are made by AutoNUE/public-code, preperation/createLabels.py --id-type csTrainId (or csId); without them "
        "the polygons are read"
    ),
    licence="By registration with the India Driving Dataset; its terms were not read here. Said to be for research.",
    commercial_use="unknown",
    citation="Varma et al., IDD: A Dataset for Exploring Problems of Autonomous Navigation, WACV 2019",
)
