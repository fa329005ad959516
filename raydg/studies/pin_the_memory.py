"""Pin the Memory: its recipe, which jobs/pin_the_memory.py argues, and the tables and figures whose rows its authors
ran."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from raydg.adaptation import Adaptation, TargetNorm, TrainBN
from raydg.augmentation import Augmentation, ColorJitter, GaussianBlur, HorizontalFlip, RandomScaleCrop, Transform
from raydg.domains.labels import CITYSCAPES_19, SYNTHIA_16
from raydg.experiment import Experiment, Stage
from raydg.methods import ERM, ISW, MLDG, Method, PinTheMemory
from raydg.models import Architecture, DeepLabV2, DeepLabV3, DeepLabV3Plus, ResNet
from raydg.optimization import SGD, Exponential
from raydg.plan import Sampling
from raydg.studies.cell import Cell, Measurement, Metric, NamedStudy, Printed, mean_cell

DATASETS = {"G": "gtav", "S": "synthia", "I": "idd", "C": "cityscapes"}
UNSEEN = ("cityscapes", "bdd100k", "mapillary")

V3_PLUS = DeepLabV3Plus.pin_the_memory(ResNet(50, weights="imagenet"))
V2 = DeepLabV2.pin_the_memory(ResNet(101, weights="imagenet", stride_on="1x1"))
V3 = DeepLabV3(ResNet(50, weights="imagenet"), auxiliary=True)

GEOMETRY: tuple[Transform, ...] = (
    RandomScaleCrop(768, 768, scale_min=0.5, scale_max=2.0),
    HorizontalFlip(probability=0.5),
)
BLUR = GaussianBlur(sigma_min=0.15, sigma_max=1.3, probability=1.0)
STANDARD = (*GEOMETRY, ColorJitter(0.4, 0.4, 0.4, 0.1, probability=0.5), BLUR)
HARD = (*GEOMETRY, ColorJitter(0.8, 0.8, 0.8, 0.3, probability=1.0), BLUR)


def experiment(
    method_name: str,
    method: Method,
    sources: str,
    steps: int,
    model: Architecture = V3_PLUS,
    network_name: str = "V3+",
    targets: tuple[str, ...] = UNSEEN,
    scored_classes: tuple[str, ...] | None = None,
) -> Experiment:
    """A cell; one source is listed twice, so that every method gets as many images of it."""
    names = tuple(DATASETS[letter] for letter in sources.split("+"))
    alone = len(names) == 1
    return Experiment(
        name=f"{method_name} {sources} {network_name}",
        label_space=CITYSCAPES_19,
        sources=names * 2 if alone else names,
        targets=targets,
        model=model,
        stages=(
            Stage(
                method=method,
                optimizer=SGD(lr=1e-2, momentum=0.9, weight_decay=5e-4),
                schedule=Exponential(decay=9.0, horizon=120_000),
                steps=steps,
            ),
        ),
        sampling=Sampling(images_per_domain=4, episodes_per_step=1),
        augmentation=Augmentation(STANDARD, meta_test=HARD if alone else None),
        adaptations=(TrainBN(), TargetNorm(batch_size=4)) if isinstance(method, MLDG) else (TrainBN(),),
        scored_classes=scored_classes,
        validate_every=-(-steps // 10),
        keep_checkpoints=2,
    )


BASELINE = ERM(auxiliary_weight=0.4)
PUBLISHED_MLDG = MLDG(inner_lr=0.25, inner_lr_relative=True, auxiliary_weight=0.4)
OURS = PinTheMemory.reference()
METHODS: dict[str, Method] = {"Baseline": BASELINE, "MLDG": PUBLISHED_MLDG, "Ours": OURS}

# Without divergence there is no memory classifier whose options could differ.
SEGMENTATION_AND_COHESION = replace(OURS, divergence_weight=0.0, classification="sum", classifier_steps_with="inner lr")
ABLATIONS: dict[str, Method] = {
    "Ours without cohesion": replace(OURS, cohesion_weight=0.0),
    "Ours without divergence": SEGMENTATION_AND_COHESION,
    "Ours, M̂": replace(OURS, rewrite="off"),
    "Ours, nothing fixed": replace(OURS, rewrite="nothing fixed"),
    "Ours, all fixed": replace(OURS, rewrite="all fixed"),
    "Ours, aggregate": replace(OURS, training="aggregate"),
    "Ours, episodic": replace(OURS, training="episodic"),
    "Ours without writing network": replace(OURS, writer="none"),
    "Ours, segmentation loss alone": replace(SEGMENTATION_AND_COHESION, cohesion_weight=0.0),
}

LETTERS = {"C": "cityscapes", "B": "bdd100k", "M": "mapillary"}
"""The unseen domains."""
STEPS = {"G+S": 30_463, "G+S+I": 112_193, "G": 23_033}
"""Of DeepLabV3+, by the sources."""
STEPS_V2, STEPS_C = 70_585, 23_033
"""Of DeepLabV2 on ResNet-101, and of DeepLabV3 on Cityscapes."""
TN = TargetNorm(batch_size=4)

IBN_NET = DeepLabV3Plus.pin_the_memory(ResNet(50, weights="imagenet", norm="ibn-b"))
ROBUST_NET = DeepLabV3Plus(ResNet(50, weights="imagenet", norm="robustnet"))


def trained(method: str, sources: str) -> Experiment:
    """A method on DeepLabV3+ and ResNet-50: one of `METHODS` or `ABLATIONS`, IBN-Net or RobustNet."""
    models = {"IBN-Net": IBN_NET, "RobustNet": ROBUST_NET}
    methods = METHODS | ABLATIONS | {"IBN-Net": BASELINE, "RobustNet": ISW()}
    return experiment(method, methods[method], sources, STEPS[sources], models.get(method, V3_PLUS))


def on_v2(method: str, sources: str) -> Experiment:
    """On DeepLabV2 and ResNet-101; from GTAV and SYNTHIA over 16 classes, as the papers that are compared with."""
    named = {"model": V2, "network_name": "V2 R101"}
    if sources == "G+S":
        named |= {"targets": ("cityscapes", "bdd100k"), "scored_classes": SYNTHIA_16.classes}
    return experiment(method, METHODS[method], sources, STEPS_V2, **named)


def on_v3() -> Experiment:
    """From Cityscapes, on DeepLabV3 and ResNet-50."""
    targets = ("bdd100k", "mapillary")
    return experiment("Ours", OURS, "C", STEPS_C, model=V3, network_name="V3", targets=targets)


REFERENCE = "Ours and MLDG as the published code has them, which made the numbers"
WHITENING = "RobustNet is `ISW()`, of which raydg has no auxiliary loss; the paper's has one of weight 0.4"
TICKS = "which loss is left out in which row is lost in the paper's text: both rows stand beside both trainings"
SECOND_ORDER = '"M.L." is the second order in the text; the code computes the first, and so do these'
WEIGHTS = "raydg does not read other papers' published networks"
COST = (
    "parameters with the auxiliary head; GMAC are multiplications with an addition for 1024 x 2048 pixels, of which "
    "the paper prints half as GFLOPs; times are of the machine that scored, the paper's of a TITAN RTX"
)
SIXTEEN = "over SYNTHIA's 16 classes"


def studies() -> Iterator[NamedStudy]:
    """Tables 1 to 14, Figures 5, 6, 8 and 9."""
    t2 = ("Baseline", "IBN-Net", "RobustNet", "MLDG", "TSMLDG", "Ours")
    t12 = ("Baseline", "MLDG", "Ours")
    for table, title, cells, notes in (
        ("T1", "GTAV and SYNTHIA, every class", per_class("T1", ("Baseline", "MLDG", "Ours"), "G+S"), (REFERENCE,)),
        ("T2", "GTAV, SYNTHIA and IDD", rows("T2", {name: name for name in t2}, "G+S+I"), (REFERENCE, WHITENING)),
        ("T3", "GTAV alone to Cityscapes", rows("T3", {n: n for n in t12}, "G", ("C",), False), (REFERENCE,)),
        ("T4", "GTAV and SYNTHIA beside UDA methods", sixteen("T4"), (SIXTEEN,)),
        ("T5", "the two losses of the memory", table_5(), (TICKS,)),
        ("T6", "which memory the meta-test reads", rows("T6", TABLE_6, "G+S"), ()),
        ("T7", "how the memory is learnt", rows("T7", TABLE_7, "G+S"), (SECOND_ORDER,)),
        ("T8", "parameters, multiplications and time", table_8(), (COST, WHITENING)),
        ("T9", "memory updating network", rows("T9", TABLE_9, "G+S"), ()),
        ("T10", "segmentation loss alone", rows("T10", TABLE_10, "G+S"), ()),
        ("T11", "Cityscapes to BDD100K and Mapillary", table_11(), ()),
        ("T12", "GTAV alone", table_12(), (REFERENCE,)),
        ("T13", "Table 2, every class", per_class("T13", t2, "G+S+I"), (REFERENCE, WHITENING)),
        ("T14", "Table 4, every class", sixteen("T14", SYNTHIA_16.classes), (SIXTEEN,)),
        (
            "F5",
            "t-SNE of pixels' features with the memory",
            pictures("features", ("RobustNet", "Ours"), "CB"),
            (WHITENING,),
        ),
        ("F6", "the memory's attention to four classes on BDD100K", pictures("attention", ("Ours",), "B"), (FIGURE_6,)),
        ("F8", "the memory's attention to every class", pictures("attention", ("Ours",), "CBM"), ()),
        ("F9", "gain of each class over the baseline on BDD100K", figure_9(), (FIGURE_9,)),
    ):
        yield NamedStudy(name=f"pin-the-memory/{table}", title=title, cells=tuple(cells), notes=notes)


def printed(
    table: str,
    method: str,
    sources: str,
    target: str,
    metric: str = "mIoU",
    class_name: str = "",
    network: str = "DeepLabV3+",
    backbone: str = "ResNet-50",
) -> tuple[Printed, ...]:
    return (
        Printed(
            paper="pin-the-memory",
            table=table,
            method=method,
            network=network,
            backbone=backbone,
            sources=sources,
            target=target,
            metric=metric,
            class_name=class_name,
        ),
    )


def way(name: str, sources: str) -> tuple[Experiment, Adaptation]:
    """What is trained, and how it meets the target: TSMLDG is MLDG met with TN on batches of 4 (B.3)."""
    return (trained("MLDG", sources), TN) if name == "TSMLDG" else (trained(name, sources), TrainBN())


def rows(
    table: str, names: Mapping[str, str], sources: str, targets: tuple[str, ...] = ("C", "B", "M"), average: bool = True
) -> Iterator[Cell]:
    """A table of mean IoUs on the unseen domains: what is trained, by the paper's name for the row."""
    for row, name in names.items():
        experiment, adaptation = way(name, sources)
        cells = [
            Cell(
                row=row,
                column=target,
                measurements=(Measurement.on(experiment, LETTERS[target], adaptation),),
                published=printed(table, row, sources, target),
            )
            for target in targets
        ]
        yield from cells
        if average:
            yield mean_cell(row, "Avg.", cells, printed(table, row, sources, "mean"))


def per_class(table: str, names: Sequence[str], sources: str) -> Iterator[Cell]:
    """Tables 1 and 13: the IoU of every class and their mean, on every unseen domain."""
    for target, domain in LETTERS.items():
        for name in names:
            yield from classes_of(table, name, f"{target}: {name}", *way(name, sources), sources, target, domain)


def classes_of(
    table: str,
    method: str,
    row: str,
    experiment: Experiment,
    adaptation: Adaptation,
    sources: str,
    target: str,
    domain: str,
    classes: Sequence[str] = CITYSCAPES_19.classes,
    network: str = "DeepLabV3+",
    backbone: str = "ResNet-50",
) -> Iterator[Cell]:
    for name in (*classes, ""):
        metric: Metric = "IoU" if name else "mIoU"
        measured = Measurement.on(experiment, domain, adaptation, metric=metric, detail=name or None)
        yield Cell(
            row=row,
            column=name or "mIoU",
            measurements=(measured,),
            published=printed(table, method, sources, target, metric, name, network, backbone),
        )


def sixteen(table: str, classes: Sequence[str] = ()) -> Iterator[Cell]:
    """Tables 4 and 14: DeepLabV2 on ResNet-101, with the IoUs of `classes` beside their mean."""
    for target in ("C", "B"):
        for name in ("Baseline", "Ours"):
            model = on_v2(name, "G+S")
            yield from classes_of(
                table, name, f"{target}: {name}", model, TrainBN(), "G+S", target, LETTERS[target], classes,
                "DeepLabV2", "ResNet-101",
            )  # fmt: skip


TABLE_6 = {
    "Ours, memory M^ (not re-updated in meta-testing)": "Ours, M̂",
    "Ours, memory M', nothing frozen": "Ours, nothing fixed",
    "Ours, memory M', E frozen": "Ours",
    "Ours, memory M', E and U frozen": "Ours, all fixed",
}
TABLE_7 = {
    "Agg., no memory": "Baseline",
    "Agg., memory": "Ours, aggregate",
    "Episodic, no memory, M.L.": "MLDG",
    "Episodic, memory, no M.L.": "Ours, episodic",
    "Episodic, memory, M.L.": "Ours",
}
TABLE_9 = {
    "Ours, without memory updating network": "Ours without writing network",
    "Ours, with memory updating network": "Ours",
}
TABLE_10 = {
    "MLDG, Lseg only": "MLDG",
    "Ours, Lseg only": "Ours, segmentation loss alone",
    "Ours, Lseg + Lcoh + Ldiv": "Ours",
}
FIGURE_6 = "car, vegetation, road and building"
FIGURE_9 = "drawn over the pixels of each class in GTAV and SYNTHIA"


def table_5() -> Iterator[Cell]:
    lost = [f"Ours, one of Lcoh and Ldiv ({place} row)" for place in ("first", "second")]
    for row, name in (("Lcoh alone", "Ours without divergence"), ("Ldiv alone", "Ours without cohesion")):
        for cell in rows("T5", {row: name}, "G+S"):
            target = "mean" if cell.column == "Avg." else cell.column
            published = tuple(p for method in lost for p in printed("T5", method, "G+S", target))
            yield replace(cell, published=published)
    yield from rows("T5", {"Ours, Lcoh and Ldiv": "Ours"}, "G+S")


def table_8() -> Iterator[Cell]:
    for name in ("Baseline", "IBN-Net", "RobustNet", "MLDG", "Ours"):
        model = trained(name, "G+S")
        for column, measured, of_paper in (
            ("parameters (M)", Measurement.of(model, "parameters (M)", "architecture"), "parameters_M"),
            ("GMAC", Measurement.of(model, "GMAC", "architecture", detail="1024x2048"), "GFLOPs"),
            ("ms/image", Measurement.on(model, "cityscapes", metric="ms/image"), "time_ms"),
        ):
            yield Cell(
                row=name, column=column, measurements=(measured,), published=printed("T8", name, "", "", of_paper)
            )


def table_11() -> Iterator[Cell]:
    named = {"network": "DeepLabV3", "backbone": "ResNet-50"}
    for name in ("MCIBI", "Ours"):
        cells = []
        for target in ("B", "M"):
            where = printed("T11", name, "C", target, **named)
            if name == "Ours":
                measured = Measurement.on(on_v3(), LETTERS[target])
                cells.append(Cell(row=name, column=target, measurements=(measured,), published=where))
            else:
                cells.append(Cell(row=name, column=target, published=where, missing=WEIGHTS))
        yield from cells
        yield mean_cell(name, "Avg.", cells, printed("T11", name, "C", "mean", **named))


def table_12() -> Iterator[Cell]:
    yield from rows("T12", {name: name for name in ("Baseline", "MLDG", "Ours")}, "G", average=False)
    for target, domain in LETTERS.items():
        fsdr = printed("T12", "FSDR", "G", target, network="", backbone="ResNet-101")
        yield Cell(row="FSDR, ResNet-101", column=target, published=fsdr, missing=WEIGHTS)
        yield Cell(
            row="Ours, ResNet-101",
            column=target,
            measurements=(Measurement.on(on_v2("Ours", "G"), domain),),
            published=printed("T12", "Ours", "G", target, network="DeepLabV2", backbone="ResNet-101"),
        )


def pictures(metric: Metric, names: Sequence[str], targets: str) -> Iterator[Cell]:
    """Figures 5, 6 and 8: what is drawn of networks from GTAV and SYNTHIA on unseen domains."""
    for name in names:
        for target in targets:
            measured = Measurement.of(trained(name, "G+S"), metric, "analysis", LETTERS[target])
            yield Cell(row=name, column=target, measurements=(measured,))


def figure_9() -> Iterator[Cell]:
    for name in ("Baseline", "Ours"):
        for class_name in CITYSCAPES_19.classes:
            measured = Measurement.on(trained(name, "G+S"), "bdd100k", metric="IoU", detail=class_name)
            where = printed("T1", name, "G+S", "B", "IoU", class_name)
            yield Cell(row=name, column=class_name, measurements=(measured,), published=where)
