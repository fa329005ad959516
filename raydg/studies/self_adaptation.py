"""Self-adaptation: its recipe, which jobs/self_adaptation.py argues, and the tables and figures whose rows its authors
ran."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from raydg.adaptation import TTA, Adaptation, Choice, IaBN, MCDropout, SegTTT, TargetNorm, Tent, TrainBN, Views
from raydg.augmentation import Augmentation, ColorJitter, GaussianBlur, Grayscale, HorizontalFlip, RandomResizedCrop
from raydg.domains.labels import CITYSCAPES_19, SYNTHIA_16, LabelSpace
from raydg.experiment import Experiment, Stage
from raydg.methods import ERM
from raydg.models import Architecture, DeepLabV1, DeepLabV3Plus, HRNet, HRNetV2, ResNet
from raydg.models.normalisation import Norm
from raydg.optimization import SGD, Poly
from raydg.plan import Sampling
from raydg.protocol import Capped
from raydg.studies.cell import Cell, Measurement, Metric, NamedStudy, Printed, mean_cell

TRAINING_IMAGES = {"gtav": 12403, "synthia": 6580, "cityscapes": 2975, "bdd100k": 7000, "mapillary": 18000}
EPOCHS, BATCH, VALIDATIONS = 50, 4, 10
WEIGHTS = tuple(IaBN(instance_weight=tenths / 10) for tenths in range(11))
"""Of the instance in IaBN: the development domain chooses one, with the checkpoint."""
UNSEEN = ("cityscapes", "bdd100k", "idd", "mapillary")

RESNETS = {f"R{depth}": ResNet(depth, weights="imagenet") for depth in (50, 101)}
DEEPLAB_V1: dict[str, Architecture] = {f"DeepLabV1 {name}": DeepLabV1(resnet) for name, resnet in RESNETS.items()}
OTHERS: dict[str, Architecture] = {
    **{f"DeepLabV3+ {name}": DeepLabV3Plus.self_adaptation(resnet) for name, resnet in RESNETS.items()},
    "DeepLabV3+ R50 OS16": DeepLabV3Plus.self_adaptation(RESNETS["R50"], output_stride=16),
    **{f"HRNet-W{width}": HRNetV2(HRNet(width, weights="imagenet")) for width in (18, 48)},
}


def experiment(
    name: str,
    source: str,
    model: Architecture,
    targets: tuple[str, ...] = UNSEEN,
    label_space: LabelSpace = CITYSCAPES_19,
    instance_weight: float = 0.1,
    adaptations: tuple[Adaptation, ...] | None = None,
) -> Experiment:
    """A network trained on one source; `adaptations` in place of t-BN, p-BN and IaBN and of the choice of its
    weight."""
    steps = EPOCHS * TRAINING_IMAGES[source] // BATCH
    return Experiment(
        name=name,
        label_space=label_space,
        sources=(source,),
        targets=targets,
        development="wilddash",
        model=model,
        stages=(
            Stage(
                method=ERM(),
                optimizer=SGD(lr=5e-3, momentum=0.9, weight_decay=1e-4),
                schedule=Poly(power=0.9),
                steps=steps,
            ),
        ),
        sampling=Sampling(images_per_domain=BATCH, episodes_per_step=1),
        augmentation=Augmentation(
            (
                RandomResizedCrop(512, 512, area_min=0.08, area_max=1.0, aspect_min=3 / 4, aspect_max=4 / 3),
                HorizontalFlip(probability=0.5),
                GaussianBlur(sigma_min=0.1, sigma_max=2.0, probability=1.0),
                ColorJitter(0.3, 0.3, 0.3, 0.1, probability=0.5),
                Grayscale(probability=0.1),
            )
        ),
        adaptations=adaptations or (TrainBN(), TargetNorm(batch_size=1), IaBN(instance_weight=instance_weight)),
        choices=(Choice(candidates=WEIGHTS, on="development", jointly=True),) if targets and not adaptations else (),
        selection="development",
        validate_every=-(-steps // VALIDATIONS),
        in_domain_splits=None if targets else ("val",),
        protocol=Capped(),  # of these data sets only Mapillary has larger images
    )


BOUNDS = ("cityscapes", "mapillary", "bdd100k")
"""Datasets that a network is trained on for Table 4's in-domain bound."""
INSTANCE_WEIGHTS = {("G", "R50"): 0.1, ("G", "R101"): 0.2, ("S", "R50"): 0.1, ("S", "R101"): 0.1}
"""Of IaBN: 0.1 for ResNet-50 in the paper, the others in the names of the published checkpoints; 0.1 for the rest."""


def baseline(source: str, network: str, **changes: Any) -> Experiment:
    """The training on GTAV (G) or SYNTHIA (S); `changes` are fields of a DeepLabV1 that is not the plain one."""
    models = DEEPLAB_V1 | OTHERS
    name, model = network, models[network]
    if changes:
        name, model = f"{network} {' '.join(map(str, changes))}", replace(model, **changes)
    weight = INSTANCE_WEIGHTS.get((source, network.removeprefix("DeepLabV1 ")), 0.1)
    if source == "G":
        return experiment(f"GTA {name}", "gtav", model, instance_weight=weight)
    return experiment(f"SYNTHIA {name}", "synthia", model, label_space=SYNTHIA_16, instance_weight=weight)


def bound(source: str, network: str) -> Experiment:
    """Trained on a target's own training split, which has no unseen domain."""
    return experiment(f"In-domain bound {source} {network}", source, DEEPLAB_V1[network], targets=())


NETWORKS = {
    "DeepLabV1 R50": ("DeepLabV1", "ResNet-50"),
    "DeepLabV1 R101": ("DeepLabV1", "ResNet-101"),
    "DeepLabV3+ R50": ("DeepLabV3+", "ResNet-50"),
    "DeepLabV3+ R101": ("DeepLabV3+", "ResNet-101"),
    "DeepLabV3+ R50 OS16": ("DeepLabV3+", "ResNet-50"),
    "HRNet-W18": ("HRNet", "HRNet-W18"),
    "HRNet-W48": ("HRNet", "HRNet-W48"),
}
"""What published numbers are found by."""
TARGETS = {"C": "cityscapes", "B": "bdd100k", "I": "idd", "M": "mapillary"}
MAIN = ("C", "B", "I")
SOURCES = {"G": "GTA", "S": "SYNTHIA"}
LAYERS = {"DeepLabV1 R101": 1, "DeepLabV3+ R101": 1, "HRNet-W18": 3, "HRNet-W48": 3}
"""Of the encoder's last groups, those that learn at test time; else 2: conv4_x and conv5_x. The paper has conv5_x for
ResNet-101. It does not say what learns in an HRNet: the published code freezes its stem's first layers and stage 1."""


def iabn(source: str, network: str) -> IaBN:
    return IaBN(instance_weight=INSTANCE_WEIGHTS.get((source, network.removeprefix("DeepLabV1 ")), 0.1))


def ours(source: str, network: str, **changes: Any) -> SegTTT:
    """IaBN and Seg-TTT as the published code has them, which made the numbers."""
    layers = LAYERS.get(network, 2)
    return SegTTT.reference(**{"norm": iabn(source, network), "layers": layers} | changes)


CODE = "Seg-TTT as in the published code (`SegTTT.reference`), which made the numbers; `SegTTT()` is the paper's text"
HRNET = "what of an HRNet learns at test time is not said: here its last three stages and the head, about the code's"
ERRORS = "the calibration error is the paper's own, per image and class (`Calibration.per_image_per_class_ece`)"
RUNTIME = "times are of the machine that scored, per image; the paper's of an RTX 2080"
SIXTEEN = "from SYNTHIA over its 16 classes, as in the published code; the paper does not say"
VARIANCE = "SN and BIN are raydg's `switchable` and `batch-instance` normalisation of the encoder, as in training"
LOST = "numbers that the text of the paper has lost stay empty"
ENSEMBLES = "an ensemble of ten seeds, which is a row of a study (`Study.ensembles`) and not yet a cell of a named one"
ON_DEVELOPMENT = "scores on the development domain choose (`Experiment.choices`) and are not yet cells of a named study"


def studies() -> Iterator[NamedStudy]:
    """Tables 1 to 9, Figures 2, 4, 5, 9 and 10, and the numbers of the running text."""
    for table, title, cells, notes in (
        ("T1", "t-BN, p-BN and IaBN from GTAV, and calibration with MC-Dropout", (*iou("T1a", "G"), *ece("T1b", "G")),
         (ERRORS,)),
        ("T2", "IaBN beside other normalisations, from GTAV", table_2(), (VARIANCE,)),
        ("T3", "IaBN, TTA and Seg-TTT, from GTAV and SYNTHIA", table_3(), (CODE, SIXTEEN)),
        ("T4", "IaBN with Seg-TTT, and training on the target as a bound", table_4(), (CODE, SIXTEEN, LOST)),
        ("T5", "Table 1 from SYNTHIA", (*iou("T5a", "S"), *ece("T5b", "S")), (ERRORS, SIXTEEN)),
        ("T6", "which views vote, in TTA and in Seg-TTT", table_6(), (CODE, RUNTIME)),
        ("T7", "time per image", table_7(), (CODE, RUNTIME)),
        ("T8", "other networks", table_8(), (CODE, HRNET)),
        ("T9", "DeepLabV3+ at output stride 16 beside Table 4's networks", table_9(), (CODE, SIXTEEN, LOST)),
        ("F2", "accuracy and time on Cityscapes: layers that learn and iterations", trade_off("C"), (CODE, RUNTIME)),
        ("F4", "weight of the image in IaBN, on WildDash and on the targets", figure_4(), (SIXTEEN,)),
        ("F5", "Figure 2 on BDD100K and IDD", (*trade_off("B"), *trade_off("I")), (CODE, RUNTIME)),
        ("F9", "failure cases", pictures(), (CODE, WORST)),
        ("F10", "gain of every image", gains(), (CODE,)),
        ("text", "numbers of Section 5.3 and Appendix C", text(), (CODE, HRNET, RUNTIME, TENT)),
    ):  # fmt: skip
        yield NamedStudy(name=f"self-adaptation/{table}", title=title, cells=tuple(cells), notes=notes)


def printed(
    table: str, method: str, network: str, sources: str, target: str, metric: str = "mIoU"
) -> tuple[Printed, ...]:
    architecture, backbone = NETWORKS[network]
    return (
        Printed(
            paper="self-adaptation",
            table=table,
            method=method,
            network=architecture,
            backbone=backbone,
            sources=sources,
            target=target,
            metric=metric,
        ),
    )


def scored(
    table: str,
    row: str,
    method: str,
    source: str,
    network: str,
    adaptation: Adaptation,
    targets: tuple[str, ...],
    average: bool = True,
    trained: Experiment | None = None,
) -> Iterator[Cell]:
    """A row: the mean IoU of a way of meeting every target, and their average if the paper prints one."""
    cells = [
        Cell(
            row=row,
            column=f"{SOURCES[source]} -> {target}",
            measurements=(Measurement.on(trained or baseline(source, network), TARGETS[target], adaptation),),
            published=printed(table, method, network, source, target),
        )
        for target in targets
    ]
    yield from cells
    if average:
        where = printed(table, method, network, source, "mean")
        yield mean_cell(row, f"{SOURCES[source]}, mean", cells, where)


def iou(table: str, source: str) -> Iterator[Cell]:
    """Tables 1a and 5a."""
    for network in DEEPLAB_V1:
        ways = {"t-BN": TrainBN(), "p-BN": TargetNorm(batch_size=1), "IaBN": iabn(source, network)}
        for name, adaptation in ways.items():
            yield from scored(table, f"{network}, {name}", name, source, network, adaptation, MAIN)


def ece(table: str, source: str) -> Iterator[Cell]:
    """Tables 1b and 5b; MC-Dropout has networks of its own, trained with dropout."""
    for network in DEEPLAB_V1:
        norm = iabn(source, network)
        dropped = baseline(source, network, dropout=0.1)
        for name, trained, adaptation in (
            ("Baseline", baseline(source, network), TrainBN()),
            ("IaBN", baseline(source, network), norm),
            ("MC-Dropout", dropped, MCDropout()),
            ("MC-Dropout + IaBN", dropped, MCDropout(norm=norm)),
        ):
            for target in MAIN:
                measured = Measurement.on(trained, TARGETS[target], adaptation, metric="ECE per image and class")
                yield Cell(
                    row=f"{network}, {name}",
                    column=f"ECE {SOURCES[source]} -> {target}",
                    measurements=(measured,),
                    published=printed(table, name, network, source, target, "ECE"),
                )


def table_2() -> Iterator[Cell]:
    network = "DeepLabV1 R50"
    norms: dict[str, Norm] = {"SN": "switchable", "BIN": "batch-instance"}
    for row, norm in norms.items():
        backbone = ResNet(50, norm=norm, weights="imagenet")
        trained = experiment(f"GTA DeepLabV1 R50 {row}", "gtav", DeepLabV1(backbone), adaptations=(TrainBN(),))
        yield from scored("T2", row, row, "G", network, TrainBN(), MAIN, trained=trained)
    yield from scored("T2", "IaBN", "IaBN", "G", network, iabn("G", network), MAIN)


def table_3() -> Iterator[Cell]:
    for network in DEEPLAB_V1:
        for source in SOURCES:
            norm = iabn(source, network)
            for name, adaptation in (
                ("IaBN", norm),
                ("IaBN + TTA", TTA(norm=norm)),
                ("IaBN + Seg-TTT", ours(source, network)),
            ):
                yield from scored("T3", f"{network}, {name}", name, source, network, adaptation, MAIN)


def table_4() -> Iterator[Cell]:
    for network in DEEPLAB_V1:
        for target in ("C", "M", "B"):
            yield Cell(
                row=f"{network}, in-domain bound",
                column=target,
                measurements=(Measurement.in_domain(bound(TARGETS[target], network), TARGETS[target]),),
                published=printed("T4", "In-domain Bound", network, target, target),
            )
    yield from with_and_without("T4", tuple((source, network) for source in SOURCES for network in DEEPLAB_V1))


def with_and_without(table: str, trainings: tuple[tuple[str, str], ...]) -> Iterator[Cell]:
    """Tables 4 and 9: each network plain and with IaBN and Seg-TTT."""
    for source, network in trainings:
        for row, method, adaptation in (
            ("no adaptation", "No Adapt (ours)", TrainBN()),
            ("ours", "Ours", ours(source, network)),
        ):
            yield from scored(
                table, f"{network}, {row}", method, source, network, adaptation, ("C", "M", "B"), average=False
            )


def table_6() -> Iterator[Cell]:
    network = "DeepLabV1 R50"
    trained, norm = baseline("G", network), iabn("G", network)
    seg_ttt = {
        name: ours("G", network, norm=TrainBN() if name == "Baseline" else norm, views=views)
        for name, views in Views.TABLE_6.items()
    }
    for kind, ways in (("TTA", TTA.table_6(norm)), ("Seg-TTT", seg_ttt)):
        for name, adaptation in ways.items():
            metrics: dict[Metric, str] = {"mIoU": "mIoU", "ms/image": "time_ms"}
            for metric, of_paper in metrics.items():
                yield Cell(
                    row=name,
                    column=f"{kind}, {metric}",
                    measurements=(Measurement.on(trained, "cityscapes", adaptation, metric=metric),),
                    published=printed("T6", f"{kind}: {name}", network, "G", "C", of_paper),
                )


def table_7() -> Iterator[Cell]:
    for network in DEEPLAB_V1:
        trained, norm = baseline("G", network), iabn("G", network)
        for name, adaptation in (("single-scale", norm), ("TTA", TTA(norm=norm)), ("Seg-TTT", ours("G", network))):
            cells = [
                Cell(
                    row=f"{network}, {name}",
                    column=target,
                    measurements=(Measurement.on(trained, TARGETS[target], adaptation, metric="ms/image"),),
                    published=printed("T7", name, network, "", target, "time_ms"),
                )
                for target in MAIN
            ]
            yield from cells
            where = printed("T7", name, network, "", "mean", "time_ms")
            yield mean_cell(f"{network}, {name}", "mean", cells, where)


def table_8() -> Iterator[Cell]:
    for network in ("DeepLabV3+ R50", "DeepLabV3+ R101", "HRNet-W18", "HRNet-W48"):
        for name, adaptation in (("Baseline", TrainBN()), ("IaBN + Seg-TTT", ours("G", network))):
            yield from scored("T8", f"{network}, {name}", name, "G", network, adaptation, MAIN)


def table_9() -> Iterator[Cell]:
    trainings = tuple((source, network) for source in SOURCES for network in DEEPLAB_V1)
    yield from with_and_without("T9", (("G", "DeepLabV3+ R50 OS16"), *trainings))


LEARNING = {"conv4_x + conv5_x + head": 2, "conv5_x + head": 1, "head": 0}
"""Curves of Figures 2 and 5, by how many groups of the encoder learn."""


def trade_off(target: str) -> Iterator[Cell]:
    """Figures 2 and 5. Every number of iterations is a run of its own, for the time of a run is that of all it does."""
    network = "DeepLabV1 R50"
    trained, norm = baseline("G", network), iabn("G", network)
    points: dict[str, Adaptation] = {"Baseline": TrainBN(), "IaBN": norm, "TTA": TTA(norm=norm)}
    for curve, layers in LEARNING.items():
        for iterations in range(1, 11):
            points[f"Seg-TTT ({curve}), {iterations}"] = ours("G", network, layers=layers, iterations=iterations)
    metrics: tuple[Metric, ...] = ("mIoU", "ms/image")
    for row, adaptation in points.items():
        for metric in metrics:
            measured = Measurement.on(trained, TARGETS[target], adaptation, metric=metric)
            yield Cell(row=row, column=f"{target}, {metric}", measurements=(measured,))
    for row in ("Ensemble (Baseline)", "Ensemble (IaBN)", "Ensemble (TTA)"):
        for metric in metrics:
            yield Cell(row=row, column=f"{target}, {metric}", missing=ENSEMBLES)


def figure_4() -> Iterator[Cell]:
    for source in SOURCES:
        trained = baseline(source, "DeepLabV1 R50")
        for tenth in range(11):
            adaptation, row = IaBN(instance_weight=tenth / 10), f"{SOURCES[source]}, {tenth / 10:g}"
            for target in MAIN:
                measured = Measurement.on(trained, TARGETS[target], adaptation)
                yield Cell(row=row, column=target, measurements=(measured,))
            chosen = Measurement.of(trained, "mIoU", "development", "wilddash", adaptation=adaptation)
            yield Cell(row=row, column="WildDash", measurements=(chosen,), missing=ON_DEVELOPMENT)


WORST = "which images the paper shows is not said: those that lose most by adapting"


def pictures() -> Iterator[Cell]:
    yield from beside_baseline("pictures")


def gains() -> Iterator[Cell]:
    yield from beside_baseline("IoU difference")


def beside_baseline(metric: Metric) -> Iterator[Cell]:
    """Figures 9 and 10: what plain inference and ours make of every image of four targets."""
    network = "DeepLabV1 R50"
    for target in ("C", "B", "M", "I"):
        trained = baseline("G", network)
        yield Cell(
            row="ours beside the baseline",
            column=f"GTA -> {target}",
            measurements=tuple(
                Measurement.on(trained, TARGETS[target], adaptation, metric=metric)
                for adaptation in (TrainBN(), ours("G", network))
            ),
        )


TENT = "Tent's step size is not given: raydg's default, one image at a time; whether the paper ran it is not said"


def text() -> Iterator[Cell]:
    network = "HRNet-W18"
    for name, adaptation in (
        ("Tent, 10 iterations", Tent(norm=TargetNorm(batch_size=1), iterations=10)),
        ("IaBN", iabn("G", network)),
        ("Seg-TTT, 10 iterations", ours("G", network)),
    ):
        yield from scored("text", f"{network}, {name}", name, "G", network, adaptation, ("C",), average=False)
    network = "DeepLabV1 R50"
    for name, changes in (
        ("Seg-TTT, 10 iterations, mixed precision", {"bf16": True}),
        ("Seg-TTT, 10 iterations, single precision", {}),
        ("Seg-TTT, 3 iterations", {"iterations": 3}),
    ):
        adaptation = ours("G", network, **changes)
        yield Cell(
            row=f"{network}, {name}",
            column="C, ms/image",
            measurements=(Measurement.on(baseline("G", network), "cityscapes", adaptation, metric="ms/image"),),
            published=printed("text", name, network, "", "C", "time_ms"),
        )
