"""DeFT: its recipe, which jobs/deft.py argues, and the tables and figures whose rows its authors ran."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from raydg.augmentation import Augmentation, ColorJitter, GaussianBlur, HorizontalFlip, RandomScaleCrop, Transform
from raydg.domains.labels import CITYSCAPES_19
from raydg.experiment import Experiment, Stage
from raydg.methods import ERM, DeFT, DeFTConfiguration, Inference, Method
from raydg.models import Architecture, DeepLabV3Plus, MiT, ResNet, SegFormer
from raydg.optimization import SGD, Poly
from raydg.plan import Sampling
from raydg.studies.cell import Cell, Measurement, NamedStudy, Printed, mean_cell

TARGETS = {"gtav": ("cityscapes", "bdd100k", "mapillary"), "cityscapes": ("bdd100k", "synthia", "gtav")}
WARMUP_STEPS = {"gtav": 8000, "cityscapes": 2000}
STEPS = 40_000

CROP: tuple[Transform, ...] = (
    RandomScaleCrop(768, 768, scale_min=0.5, scale_max=2.0),
    HorizontalFlip(probability=0.5),
)
PLAIN_CROP: tuple[Transform, ...] = (
    RandomScaleCrop(768, 768, scale_min=1.0, scale_max=1.0),
    HorizontalFlip(probability=0.5),
)
PHOTOMETRY: tuple[Transform, ...] = (
    ColorJitter(0.4, 0.4, 0.4, 0.1, probability=0.5),
    GaussianBlur(sigma_min=0.15, sigma_max=1.3, probability=1.0),
)

R50 = DeepLabV3Plus(ResNet(50, weights="imagenet"))
R101 = DeepLabV3Plus(ResNet(101, weights="imagenet"))
MIT_B5 = SegFormer(MiT("B5", weights="imagenet"))

DISTANCE_WEIGHT = 1e-3
TABLE_7 = tuple(DeFTConfiguration(configuration=row) for row in ("IV", "III", "II", "I"))


def stage(method: Method, steps: int = STEPS, lr: float = 1e-2, weight_decay: float = 5e-4) -> Stage:
    optimizer = SGD(lr=lr, momentum=0.9, weight_decay=weight_decay)
    return Stage(method=method, optimizer=optimizer, schedule=Poly(power=0.9), steps=steps)


def experiment(
    name: str,
    finetuning: Stage,
    source: str = "gtav",
    model: Architecture = R50,
    warmup: bool = True,
    transforms: tuple[Transform, ...] = CROP + PHOTOMETRY,
    inferences: tuple[Inference, ...] | None = None,
) -> Experiment:
    first = stage(ERM(trains="decoder"), WARMUP_STEPS[source], weight_decay=5e-3)
    return Experiment(
        name=name,
        label_space=CITYSCAPES_19,
        sources=(source,),
        targets=TARGETS[source],
        model=model,
        stages=(first, finetuning) if warmup else (finetuning,),
        sampling=Sampling(images_per_domain=4, episodes_per_step=1),
        augmentation=Augmentation(transforms),
        inferences=inferences,
        selection="last",
        validate_every=8000,
        keep_checkpoints=1,
    )


DEFT = stage(DeFT(ema_rate=0.9999))
TRAININGS: dict[str, Experiment] = {
    each.name: each
    for each in (
        experiment("DeFT G R50", DEFT, inferences=TABLE_7),
        experiment("DeFT G R101", DEFT, model=R101),
        experiment("DeFT G MiT-B5", DEFT, model=MIT_B5),
        experiment("DeFT C R50", DEFT, source="cityscapes"),
        # Table 6, from the bottom of the ladder up to "Joint"; Tables 4 and 5 quote the first as their baseline.
        experiment(
            "Auxiliary loss, no augmentation",
            stage(ERM(auxiliary_weight=0.4)),
            model=replace(R50, auxiliary=True),
            warmup=False,
            transforms=PLAIN_CROP,
        ),
        experiment("No augmentation", stage(ERM()), warmup=False, transforms=PLAIN_CROP),
        experiment("No warm-up", stage(ERM()), warmup=False),
        experiment("Joint", stage(ERM())),
        # Tables 1, 2, 3 and 8.
        experiment("Encoder frozen", stage(ERM(trains="decoder"))),
        experiment("Decoder frozen", stage(ERM(trains="encoder"))),
        *(experiment(f"Joint {lr}", stage(ERM(), lr=float(lr))) for lr in ("3e-3", "1e-3", "1e-4")),
        experiment("Joint + distance", stage(ERM(distance_weight=DISTANCE_WEIGHT))),
        experiment("DeFT + distance", stage(DeFT(ema_rate=0.9999, distance_weight=DISTANCE_WEIGHT))),
        *(experiment(f"DeFT {rate}", stage(DeFT(ema_rate=rate))) for rate in (0.99, 0.999)),
    )
}
"""Every cell of the job, by name."""

LETTERS = {"C": "cityscapes", "B": "bdd100k", "M": "mapillary", "S": "synthia", "G": "gtav"}
FROM = {"G": ("C", "B", "M"), "C": ("B", "S", "G")}
"""The unseen domains of each source."""

DISTANCE = "the weight of the distance is nowhere given: 1e-3 is a guess"
BASELINE = (
    "whether the authors ran the baseline is not said; on ResNet-50 it has the numbers that Table 6 has with the "
    "auxiliary loss and without augmentation, and the others are trained likewise here"
)
CURVES = "every checkpoint of the run is measured; frozen parts are trained after the same warm-up"


def studies() -> Iterator[NamedStudy]:
    """Tables 1 to 9, Figures 1, 3 and 9."""
    for table, title, cells, notes in (
        ("T1", "encoder or decoder frozen beside DeFT", rows("T1", TABLE_1), ()),
        ("T2", "learning rates of joint finetuning", rows("T2", TABLE_2), ()),
        ("T3", "distance regularisation", rows("T3", TABLE_3), (DISTANCE,)),
        ("T4", "from GTAV", table_4(), (BASELINE,)),
        ("T5", "from Cityscapes", table_5(), (BASELINE,)),
        ("T6", "what each component adds", rows("T6", TABLE_6), ()),
        ("T7", "which encoder with which decoder", table_7(), ()),
        ("T8", "rate of the averages", rows("T8", TABLE_8), ()),
        (
            "T9",
            "SegFormer with MiT-B5",
            rows("T9", {"DeFT": "DeFT G MiT-B5"}, network="SegFormer", backbone="MiT-B5"),
            (),
        ),
        ("F1", "loss on GTAV and Cityscapes while finetuning", losses(("GTAV", "Cityscapes"), JOINT), (CURVES,)),
        ("F3", "distance from where finetuning began", figure_3(), (CURVES,)),
        ("F9", "loss on Cityscapes while finetuning", losses(("Cityscapes",), (*JOINT, "DeFT G R50")), (CURVES,)),
    ):
        yield NamedStudy(name=f"deft/{table}", title=title, cells=tuple(cells), notes=notes)


TABLE_1 = {"Freezing Encoder": "Encoder frozen", "Freezing Decoder": "Decoder frozen", "DeFT": "DeFT G R50"}
TABLE_2 = {
    "Joint Finetuning, learning rate 1e-2": "Joint",
    **{f"Joint Finetuning, learning rate {lr}": f"Joint {lr}" for lr in ("3e-3", "1e-3", "1e-4")},
    "DeFT, learning rate 1e-2": "DeFT G R50",
}
TABLE_3 = {
    "Joint Finetuning": "Joint",
    "Joint Finetuning + Distance Regularization": "Joint + distance",
    "DeFT": "DeFT G R50",
    "DeFT + Distance Regularization": "DeFT + distance",
}
TABLE_6 = {
    "Baseline": "Auxiliary loss, no augmentation",
    "w/o Aux.": "No augmentation",
    "w/o Aux. + Aug.": "No warm-up",
    "w/o Aux. + Aug. + Warm-Up": "Joint",
    "w/o Aux. + Aug. + Warm-Up + DeFT": "DeFT G R50",
}
TABLE_8 = {
    **{f"DeFT, beta {rate}": f"DeFT {rate}" for rate in (0.99, 0.999)},
    "DeFT, beta 0.9999": "DeFT G R50",
}
JOINT = ("Joint", "Encoder frozen", "Decoder frozen")
"""Curves of Figure 1."""


def row(
    table: str,
    name: str,
    trained: Experiment,
    source: str = "G",
    network: str = "DeepLabV3+",
    backbone: str = "ResNet-50",
    inference: Inference | None = None,
    label: str | None = None,
) -> Iterator[Cell]:
    """The mean IoU on every unseen domain, and their average."""

    def printed(target: str) -> tuple[Printed, ...]:
        return (
            Printed(
                paper="deft",
                table=table,
                method=name,
                network=network,
                backbone=backbone,
                sources=source,
                target=target,
            ),
        )

    cells = [
        Cell(
            row=label or name,
            column=target,
            measurements=(Measurement.on(trained, LETTERS[target], inference=inference),),
            published=printed(target),
        )
        for target in FROM[source]
    ]
    yield from cells
    yield mean_cell(label or name, "Avg.", cells, printed("mean"))


def rows(
    table: str, names: Mapping[str, str], network: str = "DeepLabV3+", backbone: str = "ResNet-50"
) -> Iterator[Cell]:
    """From GTAV: what is trained, by the paper's name for the row."""
    for name, trained in names.items():
        yield from row(table, name, TRAININGS[trained], network=network, backbone=backbone)


def without_components(name: str, source: str, model: DeepLabV3Plus) -> Experiment:
    """The baseline as Table 6 has it, from another source or on another backbone."""
    auxiliary = stage(ERM(auxiliary_weight=0.4))
    network = replace(model, auxiliary=True)
    return experiment(name, auxiliary, source=source, model=network, warmup=False, transforms=PLAIN_CROP)


def table_4() -> Iterator[Cell]:
    plain = TRAININGS["Auxiliary loss, no augmentation"]
    deeper = without_components("Auxiliary loss, no augmentation, R101", "gtav", R101)
    for backbone, baseline, ours in (("ResNet-50", plain, "DeFT G R50"), ("ResNet-101", deeper, "DeFT G R101")):
        yield from row("T4", "Baseline", baseline, network="", backbone=backbone, label=f"Baseline, {backbone}")
        yield from row("T4", "DeFT", TRAININGS[ours], backbone=backbone, label=f"DeFT, {backbone}")


def table_5() -> Iterator[Cell]:
    plain = without_components("Auxiliary loss, no augmentation, from Cityscapes", "cityscapes", R50)
    yield from row("T5", "Baseline", plain, "C", network="")
    yield from row("T5", "DeFT", TRAININGS["DeFT C R50"], "C")


def table_7() -> Iterator[Cell]:
    parts = {
        "I": "d2 (UC) after e1 (UC)",
        "II": "d~1 (GC) after e1 (UC)",
        "III": "d2 (UC) after e~2 (GC)",
        "IV": "d~1 (GC) after e~2 (GC)",
    }
    ways = {way.configuration: way for way in TABLE_7}
    for number, text in parts.items():
        name = f"DeFT, final model {number}: {text}"
        yield from row("T7", name, TRAININGS["DeFT G R50"], inference=ways[number])


def losses(domains: Sequence[str], names: Sequence[str]) -> Iterator[Cell]:
    """Figures 1 and 9: curves over training, of which every checkpoint stays."""
    for name in names:
        kept = replace(TRAININGS[name], keep_checkpoints=None)
        for domain in domains:
            measured = Measurement.of(kept, "loss", "analysis", domain.lower())
            yield Cell(row=name, column=domain, measurements=(measured,))


def figure_3() -> Iterator[Cell]:
    for name, method in (("Joint", ERM()), ("DeFT G R50", DeFT(ema_rate=0.9999))):
        trained = experiment(f"{name}, measured", stage(replace(method, measure_distances=True)))
        for norm in ("l2", "mars", "operator"):
            measured = Measurement.of(trained, "distance", "training", detail=f"distance/{norm}")
            yield Cell(row=name, column=norm, measurements=(measured,))
