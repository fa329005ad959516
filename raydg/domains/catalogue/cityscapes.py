"""Cityscapes, and the label tables of all that use its ids."""

from raydg.domains.contract import Contract, ExpectedSplit
from raydg.domains.dataset import Dataset, Edition
from raydg.domains.label_table import IGNORED, LabelTable
from raydg.domains.labels import CITYSCAPES_19, IDD_LEVEL1, SYNTHIA_13, SYNTHIA_16
from raydg.domains.layouts import PairedFiles

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

# For every dataset that uses the ids of Cityscapes.
ID_TABLES = (
    CITYSCAPES_TO_19,
    CITYSCAPES_TO_19.within(SYNTHIA_16),
    CITYSCAPES_TO_19.within(SYNTHIA_13),
    CITYSCAPES_TO_IDD,
)

# labelTrainIds files hold the 19 classes by their position and 255 for all else.
TRAIN_IDS_TO_19 = LabelTable(CITYSCAPES_19, {**dict(enumerate(CITYSCAPES_19.classes)), 255: IGNORED})

# The train id of a class stands for one raw id, so it means the same in IDD's level. What has no train id (parking,
# guard rail, bridge, caravan, …) is lost in such files and ignored here, while CITYSCAPES_TO_IDD knows it.
TRAIN_IDS_TO_IDD = LabelTable(
    IDD_LEVEL1,
    {
        **{
            CITYSCAPES_19.classes.index(name): CITYSCAPES_TO_IDD.classes[raw_id]
            for raw_id, name in CITYSCAPES_TO_19.classes.items()
            if name != IGNORED
        },
        255: IGNORED,
    },
)

# For every dataset whose files hold the train ids of Cityscapes.
TRAIN_ID_TABLES = (
    TRAIN_IDS_TO_19,
    TRAIN_IDS_TO_19.within(SYNTHIA_16),
    TRAIN_IDS_TO_19.within(SYNTHIA_13),
    TRAIN_IDS_TO_IDD,
)

TRAIN_CITIES = (
    "aachen", "bochum", "bremen", "cologne", "darmstadt", "dusseldorf", "erfurt", "hamburg", "hanover", "jena",
    "krefeld", "monchengladbach", "strasbourg", "stuttgart", "tubingen", "ulm", "weimar", "zurich",
)  # fmt: skip
VAL_CITIES = ("frankfurt", "lindau", "munster")

# Road, sidewalk, building, pole, traffic sign, vegetation, sky, person, car. Counted in 23 real label maps, each of
# them is in 18 or more, so that a split of hundreds surely shows it.
FREQUENT_IDS = (7, 8, 11, 17, 20, 21, 23, 24, 26)
# With bicycle, the last one: train ids that were shifted down by one (road became 255) lack it.
FREQUENT_TRAIN_IDS = (0, 1, 2, 5, 7, 8, 10, 11, 13, 18)


def members(cities: tuple[str, ...]) -> str:
    """What the ids of samples of these cities, such as aachen/aachen_000000_000019, begin with."""
    return f"({'|'.join(cities)})/"


def edition(name: str) -> Edition:
    """Cityscapes, labelled by the files whose names end in the edition's."""
    by_id, image, label = name == "labelIds", "{split}/{id}_leftImg8bit.png", f"{{split}}/{{id}}_gtFine_{name}.png"
    return Edition(
        name=name,
        # Both archives unpacked into one folder, or each into one of its own, as RobustNet and PintheMemory want it.
        layout=PairedFiles(
            images=(f"leftImg8bit/{image}", f"leftImg8bit_trainvaltest/leftImg8bit/{image}"),
            labels=(f"gtFine/{label}", f"gtFine_trainvaltest/gtFine/{label}"),
            splits=("train", "val"),
        ),
        tables=ID_TABLES if by_id else TRAIN_ID_TABLES,
        contract=Contract(
            edition="Cityscapes, fine annotations (2016)",
            source="Cordts et al., CVPR 2016; cities of the splits as in public loaders",
            splits=(
                ExpectedSplit(domain="cityscapes", split="train", samples=2975, members=members(TRAIN_CITIES)),
                ExpectedSplit(domain="cityscapes", split="val", samples=500, members=members(VAL_CITIES)),
            ),
            sizes=((2048, 1024),),
            occurring=FREQUENT_IDS if by_id else FREQUENT_TRAIN_IDS,
        ),
    )


DATASET = Dataset(
    name="cityscapes",
    title="Cityscapes, fine annotations (train and val; the labels of test are not published)",
    domains=("cityscapes",),
    # labelIds come with the archive. labelTrainIds are made from them by cityscapesScripts (csCreateTrainIdLabelImgs).
    editions=(edition("labelIds"), edition("labelTrainIds")),
    source="https://www.cityscapes-dataset.com/downloads (registration): leftImg8bit_ and gtFine_trainvaltest.zip",
    licence="By registration with Cityscapes: non-commercial, no redistribution.",
    commercial_use="no",
    citation="Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016",
)
