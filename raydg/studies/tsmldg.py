"""TSMLDG: its recipe, which jobs/tsmldg.py argues, and the tables and figures whose rows its authors ran."""

from collections.abc import Iterator
from dataclasses import replace

from raydg.adaptation import Adaptation, TargetNorm, TrainBN
from raydg.augmentation import Augmentation, GaussianBlur, HorizontalFlip, RandomScaleCrop, Rotation
from raydg.domains.labels import CITYSCAPES_19
from raydg.experiment import Experiment, Stage
from raydg.methods import ERM, MLDG, Method
from raydg.models import FCN, ResNet
from raydg.optimization import SGD, Poly
from raydg.plan import Sampling
from raydg.protocol import CenterCrop
from raydg.studies.cell import Cell, Measurement, NamedStudy, Printed

DATASETS = {"G": "gtav", "S": "synthia", "I": "idd", "C": "cityscapes", "M": "mapillary"}
TARGET_SPLITS = {"C": ("val",), "M": ("val_first500",)}
STEPS_PER_EPOCH = 375
DATA = "data/tsmldg"


def experiment(
    method_name: str, method: Method, sources: str, target: str, tn_batches: tuple[int, ...] = (16,)
) -> Experiment:
    """A method trained on the sources (letters with + between them) and met on the target (a letter)."""
    return Experiment(
        name=f"{method_name} {sources}",
        label_space=CITYSCAPES_19,
        sources=tuple(DATASETS[letter] for letter in sources.split("+")),
        targets=(DATASETS[target],),
        target_splits=TARGET_SPLITS[target],
        model=FCN(ResNet(50, stem="3x3", weights="weights/resnet50_deep_stem.pth")),
        stages=(
            Stage(
                method=method,
                optimizer=SGD(lr=5e-3, momentum=0.9, weight_decay=5e-4),
                schedule=Poly(power=0.9),
                steps=120 * STEPS_PER_EPOCH,
            ),
        ),
        sampling=Sampling(images_per_domain=2, episodes_per_step=4),
        augmentation=Augmentation(
            (
                HorizontalFlip(probability=0.5),
                Rotation(degrees=10.0, probability=0.5),
                RandomScaleCrop(600, 600, scale_min=0.5, scale_max=2.0),
                GaussianBlur(sigma_min=0.01, sigma_max=1.0, probability=0.5),
            )
        ),
        adaptations=(TrainBN(), *(TargetNorm(batch_size=size, orders=5) for size in tn_batches)),
        protocol=CenterCrop(768),
        validate_every=10 * STEPS_PER_EPOCH,
    )


METHODS: dict[str, Method] = {"AGG": ERM(), "MLDG": MLDG(inner_lr=1e-3)}
SPLITS: dict[str, Method] = {f"MLDG {n}:{4 - n}": MLDG(inner_lr=1e-3, num_meta_train=n) for n in (3, 2, 1)}
FIGURE_4 = (1, 8, 16, 32, 48, 64, 80)

TN = TargetNorm(batch_size=16, orders=5)
WAYS: dict[str, tuple[str, Adaptation]] = {
    "AGG": ("AGG", TrainBN()),
    "AGG+TN": ("AGG", TN),
    "MLDG": ("MLDG", TrainBN()),
    "MLDG+TN": ("MLDG", TN),
}
"""Rows of Tables 3 and 6: what is trained and how it meets a domain."""

SERVER = "Cityscapes keeps the labels of its test split: `raydg predict --write labelIds` writes what its server scores"


def studies() -> Iterator[NamedStudy]:
    """Tables 1 to 6 and Figure 4."""
    for table, title, cells, notes in (
        ("T1", "the method beside AGG on Cityscapes' test server", table_1(), (TABLE_1,)),
        ("T2", "GTAV and SYNTHIA to Cityscapes, every class, on the test server", table_2(), ()),
        ("T3", "AGG and MLDG, with and without TN, on four splits of the domains", table_3(), ()),
        ("T4", "how MLDG divides four sources", table_4(), (TABLE_4,)),
        ("T5", "number of sources", table_5(), (TABLE_5,)),
        ("T6", "TN on the unseen domain and on the sources", table_6(), (TABLE_6,)),
        ("F4", "batch size of TN", figure_4(), ()),
    ):
        yield NamedStudy(name=f"tsmldg/{table}", title=title, cells=tuple(cells), notes=notes, data=DATA)


def printed(table: str, method: str, sources: str, target: str, class_name: str = "") -> tuple[Printed, ...]:
    return (
        Printed(
            paper="tsmldg",
            table=table,
            method=method,
            backbone="ResNet-50",
            sources=sources,
            target=target,
            metric="IoU" if class_name else "mIoU",
            class_name=class_name,
        ),
    )


def trained(method: str, sources: str, target: str) -> Experiment:
    return experiment(method, METHODS[method], sources, target)


TABLE_1 = (
    "one source cannot be split: Section 4.3 trains the method on GTAV and SYNTHIA though the caption has GTAV, and so "
    "does this"
)
TABLE_4 = "whether TN was used is not said; 2:2 equals Table 3's MLDG without it, so there is none here"
TABLE_5 = "one source cannot be split, so G is AGG with TN"
TABLE_6 = "the sources are scored on their validation splits, which also chose the checkpoint"


def table_1() -> Iterator[Cell]:
    for row, sources, method, trained_on, adaptation in (
        ("AGG", "G", "AGG", "G", TrainBN()),
        ("Our Method", "G", "MLDG", "G+S", TN),
        ("AGG-4", "G+S+I+M", "AGG", "G+S+I+M", TrainBN()),
        ("Our Method", "G+S+I+M", "MLDG", "G+S+I+M", TN),
    ):
        yield Cell(
            row=row,
            column=f"{sources} -> C",
            measurements=(Measurement.on(trained(method, trained_on, "C"), "cityscapes", adaptation),),
            published=printed("T1", row, sources, "C"),
            missing=SERVER,
        )


def table_2() -> Iterator[Cell]:
    ours = trained("MLDG", "G+S", "C")
    for name in (*CITYSCAPES_19.classes, ""):
        measured = Measurement.on(ours, "cityscapes", TN, metric="IoU" if name else "mIoU", detail=name or None)
        yield Cell(
            row="Our method",
            column=name or "mIoU",
            measurements=(measured,),
            published=printed("T2", "Our method", "G+S", "C", name),
            missing=SERVER,
        )


def table_3() -> Iterator[Cell]:
    for row, (method, adaptation) in WAYS.items():
        for sources, target in (("G+S+I", "M"), ("G+S+I", "C"), ("G+S+I+C", "M"), ("G+S+I+M", "C")):
            yield Cell(
                row=row,
                column=f"{sources} -> {target}",
                measurements=(Measurement.on(trained(method, sources, target), DATASETS[target], adaptation),),
                published=printed("T3", row, sources, target),
            )


def table_4() -> Iterator[Cell]:
    for name, method in SPLITS.items():
        split = name.removeprefix("MLDG ")
        yield Cell(
            row=split,
            column="G+S+I+M -> C",
            measurements=(Measurement.on(experiment(name, method, "G+S+I+M", "C"), "cityscapes"),),
            published=printed("T4", f"MLDG, meta-train:meta-test {split}", "G+S+I+M", "C"),
        )


def table_5() -> Iterator[Cell]:
    for sources in ("G", "G+S", "G+S+I", "G+S+I+M"):
        method = "MLDG" if "+" in sources else "AGG"
        yield Cell(
            row="Our method",
            column=f"{sources} -> C",
            measurements=(Measurement.on(trained(method, sources, "C"), "cityscapes", TN),),
            published=printed("T5", "Our method", sources, "C"),
        )


def table_6() -> Iterator[Cell]:
    for row, (method, adaptation) in WAYS.items():
        of_four = trained(method, "G+S+I+M", "C")
        for domain in ("C", "I", "M", "S", "G"):
            name = DATASETS[domain]
            if domain == "C":
                measured = Measurement.on(of_four, name, adaptation)
            else:
                measured = Measurement.in_domain(of_four, name, ("val",), adaptation)
            yield Cell(
                row=row, column=domain, measurements=(measured,), published=printed("T6", row, "G+S+I+M", domain)
            )


def figure_4() -> Iterator[Cell]:
    for method, curve in (("AGG", "AGG"), ("MLDG", "Ours (MLDG)")):
        of_four = trained(method, "G+S+I+M", "C")
        for batch in (None, *FIGURE_4):
            adaptation = replace(TN, batch_size=batch) if batch else TrainBN()
            point = f"TN, batch {batch}" if batch else "without TN"
            yield Cell(
                row=curve,
                column=point,
                measurements=(Measurement.on(of_four, "cityscapes", adaptation),),
                published=printed("F4", f"{curve}, {point}", "G+S+I+M", "C"),
            )
