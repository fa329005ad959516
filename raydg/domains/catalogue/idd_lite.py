"""IDD-Lite, the small edition of the India Driving Dataset."""

from raydg.domains.contract import Band, Contract, ExpectedSplit
from raydg.domains.dataset import Dataset, Edition
from raydg.domains.label_table import IGNORED, LabelTable
from raydg.domains.labels import IDD_LEVEL1
from raydg.domains.layouts import PairedFiles

IDD_TO_IDD = LabelTable(IDD_LEVEL1, {**dict(enumerate(IDD_LEVEL1.classes)), 255: IGNORED})

MEASURED = "measured on 170 training frames, with generous limits"

DATASET = Dataset(
    name="idd_lite",
    title="IDD-Lite",
    domains=("idd_lite",),
    editions=(
        Edition(
            name="IDD-Lite",
            layout=PairedFiles(
                images="leftImg8bit/{split}/{id}_image.jpg",
                labels="gtFine/{split}/{id}_label.png",
                splits=("train", "val"),
            ),
            tables=(IDD_TO_IDD,),
            contract=Contract(
                edition="IDD-Lite",
                source="counts as its users state them; sizes and ids of 220 of its frames, of both splits",
                splits=(
                    ExpectedSplit(domain="idd_lite", split="train", samples=1403),
                    ExpectedSplit(domain="idd_lite", split="val", samples=204),
                ),
                sizes=((320, 227),),
                occurring=tuple(range(7)),
                # Measured: 32, 8, 11, 26 and 19 %.
                bands=(
                    Band("drivable", 0.15, 0.5, MEASURED),
                    Band("vehicles", 0.02, 0.25, MEASURED),
                    Band("roadside objects", 0.03, 0.3, MEASURED),
                    Band("far objects", 0.1, 0.5, MEASURED),
                    Band("sky", 0.06, 0.4, MEASURED),
                ),
            ),
        ),
    ),
    source="https://idd.insaan.iiit.ac.in (registration)",
    licence="By registration with the India Driving Dataset; its terms were not read here. Said to be for research.",
    commercial_use="unknown",
    citation="Varma et al., IDD: A Dataset for Exploring Problems of Autonomous Navigation, WACV 2019",
)
