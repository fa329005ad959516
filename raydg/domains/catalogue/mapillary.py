"""Mapillary Vistas, releases 1.2 and 2.0."""

import json
from collections.abc import Mapping
from functools import partial

from raydg.domains.contract import Contract, ExpectedSplit
from raydg.domains.dataset import Dataset, Edition, Subset
from raydg.domains.label_table import IGNORED, NameTable
from raydg.domains.labels import CITYSCAPES_19, IDD_LEVEL1, SYNTHIA_13, SYNTHIA_16
from raydg.domains.layouts import PairedFiles, RenamedSplits
from raydg.storage import Place

# The map that visinf/self-adaptive (datasets/labels.py) and Genie-Kim/PintheMemory (datasets/mapillary.py) both have
# for release 1.2, by name instead of by id: curbs are sidewalk, general lane markings and manholes are road, while
# crosswalks, bike and service lanes, parking and the backs of signs are ignored. koncle/TSMLDG (natural_datasets.py)
# matches exact colours of Cityscapes instead, so its Mapillary is another task.
TO_19_IN_BOTH = {
    "construction--flat--road": "road",
    "object--manhole": "road",
    "construction--barrier--curb": "sidewalk",
    "construction--flat--sidewalk": "sidewalk",
    "construction--structure--building": "building",
    "construction--barrier--wall": "wall",
    "construction--barrier--fence": "fence",
    "object--support--pole": "pole",
    "object--support--utility-pole": "pole",
    "object--traffic-sign--front": "traffic sign",
    "nature--vegetation": "vegetation",
    "nature--terrain": "terrain",
    "nature--sky": "sky",
    "human--rider--bicyclist": "rider",
    "human--rider--motorcyclist": "rider",
    "human--rider--other-rider": "rider",
    "object--vehicle--car": "car",
    "object--vehicle--truck": "truck",
    "object--vehicle--bus": "bus",
    "object--vehicle--on-rails": "train",
    "object--vehicle--motorcycle": "motorcycle",
    "object--vehicle--bicycle": "bicycle",
}
TO_19_IN_1_2 = {
    **TO_19_IN_BOTH,
    "marking--general": "road",
    "object--traffic-light": "traffic light",
    "human--person": "person",
}

# What the two releases both list, by the class of IDD's first level: WildDash's authors give the IDD class of every
# Vistas class (ozendelait/wilddash_scripts, wd2_unified_label_policy.json), IDD's table its level 1 (idd.py). Some of
# that surprises: pedestrian areas and sand are drivable, mountains are fallback background and so go with the sky.
# Where the policy has two answers (bike lanes and manholes on road or sidewalk, tram tracks) the first is taken. Snow
# and boats are unlabeled there.
TO_LEVEL1_IN_BOTH = {
    "drivable": (
        "construction--flat--bike-lane", "construction--flat--crosswalk-plain", "construction--flat--parking",
        "construction--flat--pedestrian-area", "construction--flat--road", "construction--flat--service-lane",
        "nature--sand", "object--catch-basin", "object--manhole", "object--pothole",
    ),
    "non-drivable": (
        "construction--flat--rail-track", "construction--flat--sidewalk", "nature--terrain", "nature--water",
    ),
    "living things": (
        "animal--bird", "animal--ground-animal", "human--rider--bicyclist", "human--rider--motorcyclist",
        "human--rider--other-rider",
    ),
    "vehicles": (
        "object--vehicle--bicycle", "object--vehicle--bus", "object--vehicle--car", "object--vehicle--caravan",
        "object--vehicle--motorcycle", "object--vehicle--on-rails", "object--vehicle--other-vehicle",
        "object--vehicle--trailer", "object--vehicle--truck", "object--vehicle--wheeled-slow",
    ),
    "roadside objects": (
        "construction--barrier--curb", "construction--barrier--fence", "construction--barrier--guard-rail",
        "construction--barrier--other-barrier", "construction--barrier--wall", "construction--flat--curb-cut",
        "object--banner", "object--bench", "object--bike-rack", "object--cctv-camera", "object--fire-hydrant",
        "object--junction-box", "object--mailbox", "object--phone-booth", "object--street-light",
        "object--support--pole", "object--support--traffic-sign-frame", "object--support--utility-pole",
        "object--traffic-sign--back", "object--traffic-sign--front", "object--trash-can",
    ),
    "far objects": (
        "construction--structure--bridge", "construction--structure--building", "construction--structure--tunnel",
        "nature--vegetation",
    ),
    "sky": ("nature--mountain", "nature--sky"),
    IGNORED: ("nature--snow", "object--vehicle--boat", "void--car-mount", "void--ego-vehicle", "void--unlabeled"),
}  # fmt: skip

TO_LEVEL1_IN_1_2 = {
    "drivable": ("marking--crosswalk-zebra", "marking--general"),
    "living things": ("human--person",),
    "roadside objects": ("object--billboard", "object--traffic-light"),
}

MARKINGS_IN_2_0 = (
    "marking--continuous--dashed", "marking--continuous--solid", "marking--continuous--zigzag",
    "marking--discrete--arrow--left", "marking--discrete--arrow--other", "marking--discrete--arrow--right",
    "marking--discrete--arrow--split-left-or-straight", "marking--discrete--arrow--split-right-or-straight",
    "marking--discrete--arrow--straight", "marking--discrete--give-way-row", "marking--discrete--give-way-single",
    "marking--discrete--hatched--chevron", "marking--discrete--hatched--diagonal", "marking--discrete--other-marking",
    "marking--discrete--stop-line", "marking--discrete--symbol--bicycle", "marking--discrete--symbol--other",
    "marking--discrete--text", "marking-only--continuous--dashed", "marking-only--discrete--other-marking",
    "marking-only--discrete--text",
)  # fmt: skip
CROSSWALKS_IN_2_0 = ("marking--discrete--crosswalk-zebra", "marking-only--discrete--crosswalk-zebra")
LIGHTS_IN_2_0 = tuple(
    f"object--traffic-light--{kind}"
    for kind in ("cyclists", "general-horizontal", "general-single", "general-upright", "other", "pedestrians")
)
SIGN_FRONTS_IN_2_0 = tuple(
    f"object--traffic-sign--{kind}" for kind in ("direction-front", "information-parking", "temporary-front")
)

# The eight that release 2.0 does not evaluate (groups, ambiguous, unlabeled) are ignored. Not clear from the names, and
# ignored as well: road median, road side, water valve and the four kinds of void.
TO_LEVEL1_IN_2_0 = {
    "drivable": (
        *MARKINGS_IN_2_0, *CROSSWALKS_IN_2_0, "construction--flat--driveway", "construction--flat--parking-aisle",
        "construction--flat--road-shoulder",
    ),
    "non-drivable": ("construction--flat--traffic-island",),
    "living things": ("human--person--individual",),
    "roadside objects": (
        *LIGHTS_IN_2_0, *SIGN_FRONTS_IN_2_0, "construction--barrier--concrete-block",
        "construction--barrier--separator", "construction--barrier--temporary", "object--parking-meter",
        "object--sign--advertisement", "object--sign--back", "object--sign--information", "object--sign--other",
        "object--sign--store", "object--traffic-cone", "object--traffic-sign--direction-back",
        "object--traffic-sign--temporary-back",
    ),
    "far objects": ("construction--structure--garage",),
    IGNORED: (
        "construction--barrier--ambiguous", "construction--barrier--road-median", "construction--barrier--road-side",
        "human--person--person-group", "marking--discrete--ambiguous", "object--sign--ambiguous",
        "object--support--pole-group", "object--traffic-sign--ambiguous", "object--vehicle--vehicle-group",
        "object--water-valve", "void--dynamic", "void--ground", "void--static",
    ),
}  # fmt: skip

# Release 2.0 divides classes of 1.2. The parts keep what the whole was there: all markings but crosswalks are road, all
# traffic lights are lights, and the fronts of signs are signs. Classes that are new, such as driveways, road shoulders
# and garages, are ignored. The choice is raydg's: no published map was found to follow.
TO_19_IN_2_0 = {
    **TO_19_IN_BOTH,
    "human--person--individual": "person",
    **dict.fromkeys(MARKINGS_IN_2_0, "road"),
    **dict.fromkeys(LIGHTS_IN_2_0, "traffic light"),
    **dict.fromkeys(SIGN_FRONTS_IN_2_0, "traffic sign"),
}


def tables(to_19: Mapping[str, str], *to_level1: Mapping[str, tuple[str, ...]]) -> tuple[NameTable, ...]:
    """Tables for the four label spaces; `to_level1` together list every name of a release, by class."""
    level1 = {name: kind for part in to_level1 for kind, names in part.items() for name in names}
    table = NameTable(CITYSCAPES_19, {name: to_19.get(name, IGNORED) for name in level1})
    return (table, table.within(SYNTHIA_16), table.within(SYNTHIA_13), NameTable(IDD_LEVEL1, level1))


def read_config(raw: Place, files: tuple[str, ...]) -> tuple[Mapping[int, str], Place]:
    """The names of the classes by their ids, which are positions in the list of the first of `files` that is there.

    Raises:
        ValueError: none is there, or it holds no list of labels.
    """
    config = next((raw / name for name in files if (raw / name).is_file()), None)
    if config is None:
        raise ValueError(f"{raw} has no {' or '.join(files)}, which numbers the classes: it comes with the dataset.")
    try:
        return {
            raw_id: str(label["name"]) for raw_id, label in enumerate(json.loads(config.read_bytes())["labels"])
        }, config
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{config} cannot be read ({type(error).__name__}: {error}); it must be JSON with a list 'labels' of "
            "objects with a 'name' each."
        ) from None


COUNTED = (
    "18,000 training and 2,000 validation images: the README of the dataset (release 1.1, kept by later ones); sizes "
    "vary and are not checked"
)
COUNTS = (
    ExpectedSplit(domain="mapillary", split="train", samples=18000),
    ExpectedSplit(domain="mapillary", split="val", samples=2000),
)

SUBSETS = (
    Subset(
        name="val_first500",
        split="val",
        first=500,
        source="koncle/TSMLDG, natural_datasets.py: the first 500 of the sorted list",
    ),
    Subset(
        name="train_first2000",
        split="train",
        first=2000,
        source=(
            "after visinf/self-adaptive, datasets/mapillary.py: 2,000 of the training images, there in the order of "
            "the file system, here in that of the names, so not the same ones"
        ),
    ),
)


def layout(*labels: str) -> RenamedSplits:
    """Images and label maps as both releases have them, the latter in one of the folders `labels`."""
    return RenamedSplits(
        PairedFiles(
            images=("{split}/images/{id}.jpg",),
            labels=tuple(f"{{split}}/{folder}/{{id}}.png" for folder in labels),
            splits=("training", "validation"),
        ),
        splits=("train", "val"),
    )


DATASET = Dataset(
    name="mapillary",
    title="Mapillary Vistas",
    domains=("mapillary",),
    editions=(
        Edition(
            name="1.2",
            layout=layout("v1.2/labels", "labels"),
            tables=tables(TO_19_IN_1_2, TO_LEVEL1_IN_BOTH, TO_LEVEL1_IN_1_2),
            class_names=partial(read_config, files=("config_v1.2.json", "config.json")),
            contract=Contract(
                edition="1.2",
                source=COUNTED,
                splits=COUNTS,
                # curb, fence, road, sidewalk, building, person, marking, sky, vegetation, pole, light, sign, car, truck
                occurring=(2, 3, 13, 15, 17, 19, 24, 27, 30, 45, 48, 50, 55, 61),
            ),
            subsets=SUBSETS,
        ),
        Edition(
            name="2.0",
            layout=layout("v2.0/labels"),
            tables=tables(TO_19_IN_2_0, TO_LEVEL1_IN_BOTH, TO_LEVEL1_IN_2_0),
            class_names=partial(read_config, files=("config_v2.0.json", "config.json")),
            contract=Contract(
                edition="2.0",
                source=COUNTED,
                splits=COUNTS,
                # curb, fence, road, sidewalk, building, person, sky, vegetation, pole, sign, car, truck
                occurring=(4, 5, 21, 24, 27, 30, 61, 64, 85, 100, 108, 114),
            ),
            subsets=SUBSETS,
        ),
    ),
    source="https://www.mapillary.com/dataset/vistas (registration)",
    licence="Mapillary Vistas Dataset Research Use License: research, restrictions against commercial use.",
    commercial_use="no",
    citation="Neuhold et al., The Mapillary Vistas Dataset for Semantic Understanding of Street Scenes, ICCV 2017",
)
