"""ACDC: streets in fog, at night, in rain and in snow, labelled like Cityscapes."""

from dataclasses import dataclass, replace

from raydg.domains.catalogue.cityscapes import ID_TABLES, TRAIN_ID_TABLES
from raydg.domains.contract import Contract, ExpectedSplit
from raydg.domains.dataset import Dataset, Edition, RawSample
from raydg.domains.layouts import PairedFiles
from raydg.storage import Place

CONDITIONS = ("fog", "night", "rain", "snow")


@dataclass(frozen=True)
class Conditions(PairedFiles):
    """Paired files, of which the domain is the weather."""

    def samples(self, raw: Place, domain: str, split: str) -> list[RawSample]:
        weather = (("weather", domain),)
        return [replace(sample, attributes=weather) for sample in super().samples(raw, domain, split)]


# 4,006 images, 1,000 in each condition but night, which has 1,006 (Sakaridis et al., arXiv 2104.13395: 4,006). How they
# are divided is from memory: 400 train, 100 val (night 106) and 500 test, whose labels are not published.
SPLITS = tuple(
    ExpectedSplit(domain=f"acdc/{condition}", split=split, samples=samples)
    for condition in CONDITIONS
    for split, samples in (("train", 400), ("val", 106 if condition == "night" else 100))
)


def edition(suffix: str) -> Edition:
    """ACDC with the label maps that end in `suffix`."""
    by_id = suffix == "labelIds"
    return Edition(
        name=suffix,
        layout=Conditions(
            images="rgb_anon/{domain}/{split}/{id}_rgb_anon.png",
            labels=f"gt/{{domain}}/{{split}}/{{id}}_gt_{suffix}.png",
            splits=("train", "val"),
        ),
        tables=ID_TABLES if by_id else TRAIN_ID_TABLES,
        contract=Contract(
            edition=f"ACDC, {suffix}",
            source="Sakaridis et al., ICCV 2021 (per split: from memory); 1920 x 1080: SysCV/CISS, datasets/acdc.py",
            splits=SPLITS,
            sizes=((1920, 1080),),
            # Road, sidewalk, building, pole, traffic sign, vegetation, sky, car.
            occurring=(7, 8, 11, 17, 20, 21, 23, 26) if by_id else (0, 1, 2, 5, 7, 8, 10, 13),
        ),
    )


DATASET = Dataset(
    name="acdc",
    title="ACDC, adverse conditions (train and val; the labels of test are not published)",
    domains=tuple(f"acdc/{condition}" for condition in CONDITIONS),
    # The archive has both. Train ids first: public code reads those (w1oves/Rein, SysCV/CISS); that the others hold no
    # id but those of Cityscapes is not verified.
    editions=(edition("labelTrainIds"), edition("labelIds")),
    source="https://acdc.vision.ee.ethz.ch (registration): rgb_anon_trainvaltest.zip and gt_trainval.zip",
    licence="By registration with ETH Zurich; the terms were not read, non-commercial from memory.",
    commercial_use="unknown",
    citation="Sakaridis, Dai and Van Gool, ACDC: The Adverse Conditions Dataset with Correspondences, ICCV 2021",
)
