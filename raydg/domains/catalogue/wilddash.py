"""WildDash, a collection of difficult street scenes from all over the world."""

from raydg.domains.catalogue.cityscapes import CITYSCAPES_TO_19, CITYSCAPES_TO_IDD, ID_TABLES
from raydg.domains.contract import Contract, ExpectedSplit
from raydg.domains.dataset import Dataset, Edition
from raydg.domains.label_table import IGNORED, LabelTable
from raydg.domains.labels import CITYSCAPES_19, IDD_LEVEL1, SYNTHIA_13, SYNTHIA_16
from raydg.domains.layouts import PairedFiles

# WildDash 2 has the ids of Cityscapes and five more: 34 pickup, 35 van, 36 billboard, 37 street light, 38 road marking
# (ozendelait/wilddash_scripts, wd2_unified_label_policy.json, which goes beyond 38 for the later panoptic package). The
# first table is that of visinf/self-adaptive, datasets/labels.py. The policy calls pickups trucks; the paper does not.
WILDDASH_2_TO_19 = LabelTable(
    CITYSCAPES_19, {**CITYSCAPES_TO_19.classes, 34: "car", 35: "car", 36: IGNORED, 37: IGNORED, 38: "road"}
)

# The policy makes billboards IDD's billboard and street lights its obs-str-bar-fallback: both are roadside objects.
WILDDASH_2_TO_IDD = LabelTable(
    IDD_LEVEL1,
    {
        **CITYSCAPES_TO_IDD.classes,
        34: "vehicles",
        35: "vehicles",
        36: "roadside objects",
        37: "roadside objects",
        38: "drivable",
    },
)

# Neither release divides what it publishes with labels: all frames are one split. Self-adaptation uses it as its
# development set, to choose alpha and hyperparameters on (README of visinf/self-adaptive); it has no training split.
DATASET = Dataset(
    name="wilddash",
    title="WildDash, public frames",
    domains=("wilddash",),
    editions=(
        Edition(
            name="2 (wd_public_02)",
            layout=PairedFiles(
                images=("images/{id}.jpg",),
                labels=("labels/{id}.png",),
                splits=("all",),
                archives=("wd_public_02",),
            ),
            tables=(
                WILDDASH_2_TO_19,
                WILDDASH_2_TO_19.within(SYNTHIA_16),
                WILDDASH_2_TO_19.within(SYNTHIA_13),
                WILDDASH_2_TO_IDD,
            ),
            contract=Contract(
                edition="2 (wd_public_02)",
                source="4,256 frames: as visinf/self-adaptive validates on; image sizes are not checked",
                splits=(ExpectedSplit(domain="wilddash", split="all", samples=4256),),
                # road, sidewalk, building, pole, vegetation, sky, person, car, van, road marking
                occurring=(7, 8, 11, 17, 21, 23, 24, 26, 35, 38),
            ),
        ),
        # The frames that came with labels in 2018, with the ids of Cityscapes. How many they are was not verified.
        Edition(
            name="1 (wd_val_01)",
            layout=PairedFiles(
                images="wd_val_01/{id}_100000.png", labels="wd_val_01/{id}_100000_labelIds.png", splits=("all",)
            ),
            tables=ID_TABLES,
            contract=Contract(
                edition="1 (wd_val_01)",
                source="ids 0 to 33 of Cityscapes: segmentation devkit of the Robust Vision Challenge 2018",
                occurring=(7, 11, 17, 21, 23, 26),
            ),
        ),
    ),
    source="https://wilddash.cc (registration): wd_public_02.zip, listed as the old WD2 beta; not the panoptic package",
    licence="By registration, under https://wilddash.cc/license/wilddash, whose text was not read here.",
    commercial_use="unknown",
    citation="Zendel et al., WildDash: Creating Hazard-Aware Benchmarks, ECCV 2018 (release 2: CVPR 2022)",
)
