"""DMG: its recipe, which jobs/dmg.py argues, and the tables and figures whose rows its authors ran."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from raydg.augmentation import Augmentation, ColorJitter, HorizontalFlip, RandomResizedCrop, RandomScaleCrop, Resize
from raydg.domains.catalogue.domainnet import DOMAINNET_345
from raydg.domains.labels import PACS_7, LabelSpace
from raydg.experiment import Experiment, Stage
from raydg.methods import DMG, ERM, Inference, KnownDomain, MaskEns, Method, MultiHeaded, OneMask
from raydg.models import AlexNet, Backbone, Classifier, ResNet
from raydg.optimization import SGD, Adam, Constant, Exponential, Inverse, Optimizer, Schedule
from raydg.plan import Sampling
from raydg.studies.cell import Cell, Measurement, NamedStudy, Printed, mean_cell

CHECKPOINTS = 10


@dataclass(frozen=True)
class Benchmark:
    """What all methods share on one collection of domains."""

    label_space: LabelSpace
    training_images: dict[str, int]
    target_splits: tuple[str, ...]
    in_domain_splits: tuple[str, ...] | None
    images_per_domain: int
    augmentation: Augmentation


PACS = Benchmark(
    label_space=PACS_7,
    training_images={"pacs/art_painting": 1840, "pacs/cartoon": 2107, "pacs/photo": 1499, "pacs/sketch": 3531},
    target_splits=("train", "val"),
    in_domain_splits=None,
    images_per_domain=21,
    augmentation=Augmentation(
        (
            RandomResizedCrop(224, 224, area_min=0.8, area_max=1.0),
            HorizontalFlip(probability=0.5),
            ColorJitter(0.4, 0.4, 0.4, 0.4, probability=1.0),
        )
    ),
)
DOMAINNET = Benchmark(
    label_space=DOMAINNET_345,
    training_images={
        "domainnet/clipart": 30172,
        "domainnet/infograph": 32420,
        "domainnet/painting": 45374,
        "domainnet/quickdraw": 108675,
        "domainnet/real": 108815,
        "domainnet/sketch": 43390,
    },
    target_splits=("test",),
    in_domain_splits=("test",),
    images_per_domain=13,
    augmentation=Augmentation(
        (
            Resize(256, 256),
            RandomScaleCrop(224, 224, scale_min=1.0, scale_max=1.0),
            HorizontalFlip(probability=0.5),
        )
    ),
)

BACKBONES: dict[str, Backbone] = {
    "AlexNet": AlexNet(weights="imagenet"),
    "R18": ResNet(18, weights="imagenet"),
    "R50": ResNet(50, weights="imagenet"),
}


@dataclass(frozen=True)
class Recipe:
    """How a method is trained, and met, on one collection of domains."""

    method: Method
    epochs: int
    optimizer: Optimizer
    schedule: Schedule
    extras_schedule: Schedule | None = None
    inferences: tuple[Inference, ...] | None = None
    masks: bool = False
    """Whether it is met under the mask of each source as well."""


def experiment(benchmark: Benchmark, name: str, recipe: Recipe, backbone: str, target: str) -> Experiment:
    """A method on a backbone, one domain held out."""
    sources = tuple(domain for domain in benchmark.training_images if domain != target)
    images = sum(benchmark.training_images[source] for source in sources)
    steps = recipe.epochs * images // (len(sources) * benchmark.images_per_domain)
    inferences = recipe.inferences
    return Experiment(
        name=f"{name} {backbone}",
        label_space=benchmark.label_space,
        sources=sources,
        targets=(target,),
        target_splits=benchmark.target_splits,
        model=Classifier(BACKBONES[backbone]),
        stages=(
            Stage(
                method=recipe.method,
                optimizer=recipe.optimizer,
                schedule=recipe.schedule,
                extras_schedule=recipe.extras_schedule,
                steps=steps,
            ),
        ),
        sampling=Sampling(
            images_per_domain=benchmark.images_per_domain,
            balance="equal" if recipe.method.needs_every_source else "proportional",
        ),
        augmentation=benchmark.augmentation,
        inferences=(*(inferences or ()), *(OneMask(source=s) for s in sources)) if recipe.masks else inferences,
        in_domain_splits=benchmark.in_domain_splits,
        evaluation_size=(224, 224),
        validate_every=-(-steps // CHECKPOINTS),
        keep_checkpoints=1,
    )


def falling(epochs: int) -> Schedule:
    """The learning rate times 0.99 an epoch."""
    return Exponential(decay=-epochs * math.log(0.99))


OURS = DMG.reference()
MULTI_HEADED = MultiHeaded(averages="logits")
WAYS = (OURS.default_inference(), MaskEns())
ON_PACS, ON_DOMAINNET = Adam(lr=1e-4, weight_decay=1e-5), Adam(lr=1e-4, weight_decay=0.0)
INVERSE = Inverse(decay=1e-4, power=0.75)

PACS_RECIPES = {
    "Aggregate": Recipe(ERM(), 100, ON_PACS, falling(epochs=100)),
    "Multi-Headed": Recipe(MULTI_HEADED, 100, ON_PACS, falling(epochs=100)),
    "DMG": Recipe(OURS, 150, ON_PACS, falling(epochs=150), Constant(), WAYS),
}
DOMAINNET_RECIPES = {
    "Aggregate": Recipe(ERM(), 50, ON_DOMAINNET, INVERSE),
    "Aggregate-SGD": Recipe(ERM(), 50, SGD(lr=1e-3, weight_decay=0.0), INVERSE),
    "Multi-Headed": Recipe(MULTI_HEADED, 50, ON_DOMAINNET, INVERSE),
    "DMG": Recipe(OURS, 50, ON_DOMAINNET, INVERSE, inferences=(*WAYS, KnownDomain()), masks=True),
}

PAPER_BACKBONES = {"AlexNet": "AlexNet", "R18": "ResNet-18", "R50": "ResNet-50"}
WEIGHTS = (0.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of the overlap in Figures 3 and 5, of the sparsity in Figure 6: "from 0 to 1 in logarithmic increments"."""

SITE_NAMES = {"before_fc6": "fc6", "before_fc7": "fc7", "before_last": "fc8"}
"""What the paper calls the layers whose inputs AlexNet's masks scale."""

SITES = tuple(SITE_NAMES)
METAREG = "raydg has no MetaReg"
FIGURE_4_SHIFTS = ("domainnet/clipart", "domainnet/quickdraw")

AVERAGE = "an average is over the held-out domains, each with the mean over its sources where it is in-domain"
COMBINED = '"Combined" averages logits, as the code does'
CAPTION = "Mask-Ens and Pred-Ens as Section 7.3 has them; the caption exchanges them"
IOU = "of a site all pairs of sources alike, of a network all sites alike; how the paper averages is not said"
SPARSITY = (
    "raydg's sparsity is a mean over the units and sources of a site, the paper's a sum: equal weights are not equally "
    "strong; the overlap has no weight here"
)


def studies() -> Iterator[NamedStudy]:
    """Tables 1 to 6 and Figures 3 to 6."""
    for table, title, cells, notes in (
        ("T1", "DomainNet, each domain held out", accuracies("T1", DOMAINNET), ()),
        ("T2", "PACS, each domain held out", accuracies("T2", PACS), ()),
        ("T3", "DomainNet in-domain, on the sources' test lists", in_domain("T3", tuple(BACKBONES)), (AVERAGE,)),
        ("T4", "every mask on every domain, Clipart or Quickdraw held out, AlexNet", table_4(), (COMBINED,)),
        ("T5", "Pred-Ens, Mask-Ens and known domain on DomainNet, AlexNet", table_5(), (AVERAGE, CAPTION)),
        ("T6", "PACS beside more of the literature: the rows of Table 2", accuracies("T6", PACS), ()),
        (
            "F3",
            "weight of the overlap: accuracy held out and in-domain, IoU of masks",
            sweep("overlap"),
            (AVERAGE, IOU),
        ),
        ("F4", "IoU of the masks of every pair of sources, AlexNet", figure_4(), (IOU,)),
        ("F5", "weight of the overlap: IoU of masks by site", figure_5(), (IOU, FIGURE_5)),
        ("F6", "weight of a sparsity in the overlap's place", sweep("sparsity"), (AVERAGE, IOU, SPARSITY)),
    ):
        yield NamedStudy(name=f"dmg/{table}", title=title, cells=tuple(cells), notes=notes)


def letter(domain: str) -> str:
    """The paper's: `C` for domainnet/clipart as for pacs/cartoon."""
    return domain.partition("/")[2][0].upper()


def letters(benchmark: Benchmark, target: str) -> str:
    """Of all domains but one, as published numbers are found by."""
    collection = target.partition("/")[0]
    return f"{collection}:{'+'.join(letter(domain) for domain in benchmark.training_images if domain != target)}"


def printed(table: str, method: str, backbone: str, sources: str, target: str) -> tuple[Printed, ...]:
    backbone = PAPER_BACKBONES[backbone]
    found = Printed(
        paper="dmg",
        table=table,
        method=method,
        backbone=backbone,
        sources=sources,
        target=target,
        metric="accuracy",
    )
    return (found,)


def leave_one_out(benchmark: Benchmark) -> str:
    return f"{next(iter(benchmark.training_images)).partition('/')[0]}:leave-one-out"


def accuracies(table: str, benchmark: Benchmark) -> Iterator[Cell]:
    """Tables 1, 2 and 6: every method and backbone on every held-out domain, and the average."""
    recipes = PACS_RECIPES if benchmark is PACS else DOMAINNET_RECIPES
    methods = {"Aggregate*" if name == "Aggregate" and benchmark is PACS else name: name for name in recipes}
    for backbone in BACKBONES:
        for row, name in methods.items():
            cells = []
            for target in benchmark.training_images:
                trained = experiment(benchmark, name, recipes[name], backbone, target)
                sources, collection = letters(benchmark, target), target.partition("/")[0]
                cells.append(
                    Cell(
                        row=f"{row} {backbone}",
                        column=letter(target),
                        measurements=(Measurement.on(trained, target),),
                        published=printed(table, row, backbone, sources, f"{collection}:{letter(target)}"),
                    )
                )
            yield from cells
            yield mean_cell(
                f"{row} {backbone}",
                "Overall",
                cells,
                printed(table, row, backbone, leave_one_out(benchmark), "mean"),
            )
        if benchmark is DOMAINNET:
            yield from metareg(table, backbone)


def metareg(table: str, backbone: str, in_domain: bool = False) -> Iterator[Cell]:
    """The row that its authors ran and raydg cannot."""
    places = []
    for target in DOMAINNET.training_images:
        sources = letters(DOMAINNET, target)
        if in_domain:
            places.append((f"{letter(target)} held out, in-domain", sources, sources))
        else:
            places.append((letter(target), sources, f"domainnet:{letter(target)}"))
    overall = ("Overall, in-domain", "mean (in-domain)") if in_domain else ("Overall", "mean")
    places.append((overall[0], leave_one_out(DOMAINNET), overall[1]))
    for column, sources, where in places:
        yield Cell(
            row=f"MetaReg {backbone}",
            column=column,
            published=printed(table, "MetaReg", backbone, sources, where),
            missing=METAREG,
        )


Row = tuple[str, Inference | None]
"""What is trained, and how it predicts; None: by its own way."""


def on_sources(trained: Experiment, inference: Inference | None = None) -> tuple[Measurement, ...]:
    """In-domain accuracy on the test list of every source."""
    return tuple(Measurement.in_domain(trained, source, ("test",), inference=inference) for source in trained.sources)


def in_domain(table: str, backbones: tuple[str, ...], rows: Mapping[str, Row] | None = None) -> Iterator[Cell]:
    """The mean over the sources' test lists, by held-out domain, and the average over these."""
    for backbone in backbones:
        for row, (name, inference) in (rows or TABLE_3).items():
            cells = []
            for target in DOMAINNET.training_images:
                trained = experiment(DOMAINNET, name, DOMAINNET_RECIPES[name], backbone, target)
                sources = letters(DOMAINNET, target)
                cells.append(
                    Cell(
                        row=f"{row} {backbone}",
                        column=f"{letter(target)} held out, in-domain",
                        measurements=on_sources(trained, inference),
                        published=printed(table, row, backbone, sources, sources),
                    )
                )
            yield from cells
            where = printed(table, row, backbone, leave_one_out(DOMAINNET), "mean (in-domain)")
            yield mean_cell(f"{row} {backbone}", "Overall, in-domain", cells, where)
        yield from metareg(table, backbone, in_domain=True)


TABLE_3: dict[str, Row] = {
    **{name: (name, None) for name in DOMAINNET_RECIPES},
    "DMG-KD": ("DMG", KnownDomain()),
}
TABLE_5: dict[str, Row] = {
    **{name: (name, None) for name in DOMAINNET_RECIPES if name != "DMG"},
    "DMG (Pred-Ens)": ("DMG", None),
    "DMG (Mask-Ens)": ("DMG", MaskEns()),
}


def table_4() -> Iterator[Cell]:
    for target in FIGURE_4_SHIFTS:
        trained = experiment(DOMAINNET, "DMG", DOMAINNET_RECIPES["DMG"], "AlexNet", target)
        ways: dict[str, Inference | None] = {
            f"mask m{source.partition('/')[2].capitalize()}": OneMask(source=source) for source in trained.sources
        }
        for way, inference in (ways | {"Combined": None}).items():
            for domain in (*trained.sources, target):
                if domain == target:
                    measured = Measurement.on(trained, domain, inference=inference)
                else:
                    measured = Measurement.in_domain(trained, domain, ("test",), inference=inference)
                yield Cell(
                    row=f"{letter(target)} held out: {way}",
                    column=letter(domain),
                    measurements=(measured,),
                    published=printed(
                        "T4",
                        f"DMG, {way}",
                        "AlexNet",
                        letters(DOMAINNET, target),
                        f"domainnet:{letter(domain)}",
                    ),
                )


def table_5() -> Iterator[Cell]:
    for row, (name, inference) in TABLE_5.items():
        cells = []
        for target in DOMAINNET.training_images:
            trained = experiment(DOMAINNET, name, DOMAINNET_RECIPES[name], "AlexNet", target)
            cells.append(
                Cell(
                    row=f"{row} AlexNet",
                    column=letter(target),
                    measurements=(Measurement.on(trained, target, inference=inference),),
                    published=printed("T5", row, "AlexNet", letters(DOMAINNET, target), f"domainnet:{letter(target)}"),
                )
            )
        yield from cells
        where = printed("T5", row, "AlexNet", leave_one_out(DOMAINNET), "mean")
        yield mean_cell(f"{row} AlexNet", "Overall", cells, where)
    yield from metareg("T5", "AlexNet")
    yield from in_domain("T5", ("AlexNet",), TABLE_5 | {"DMG-KnownDomain": ("DMG", KnownDomain())})


def weighted(kind: Literal["overlap", "sparsity"], weight: float, target: str) -> Experiment:
    """DMG on DomainNet with AlexNet and another weight; the published one is the cell that there is already."""
    if kind == "overlap" and weight == OURS.overlap_weight:
        return experiment(DOMAINNET, "DMG", DOMAINNET_RECIPES["DMG"], "AlexNet", target)
    if kind == "overlap" or weight == 0:  # without either they are one training
        name, method = f"DMG overlap {weight:g}", replace(OURS, overlap_weight=weight)
    else:
        name, method = f"DMG sparsity {weight:g}", replace(OURS, overlap_weight=0.0, sparsity_weight=weight)
    return experiment(DOMAINNET, name, replace(DOMAINNET_RECIPES["DMG"], method=method), "AlexNet", target)


def sweep(kind: Literal["overlap", "sparsity"]) -> Iterator[Cell]:
    """Figures 3 and 6: accuracy on the held-out domain, in-domain, and the IoU of the thresholded masks."""
    for weight in WEIGHTS:
        for target in DOMAINNET.training_images:
            trained, shift = weighted(kind, weight, target), f"{letter(target)} held out"
            for column, measurements in (
                (shift, (Measurement.on(trained, target),)),
                (f"{shift}, in-domain", on_sources(trained)),
                (f"{shift}, mask IoU", (Measurement.of(trained, "mask IoU", "training", detail="iou"),)),
            ):
                yield Cell(row=f"{kind} {weight:g}", column=column, measurements=measurements)


def figure_4() -> Iterator[Cell]:
    for target in FIGURE_4_SHIFTS:
        trained = experiment(DOMAINNET, "DMG", DOMAINNET_RECIPES["DMG"], "AlexNet", target)
        row = f"{letter(target)} held out"
        yield Cell(
            row=row,
            column="accuracy",
            measurements=(Measurement.on(trained, target),),
            published=printed("F4", "DMG", "AlexNet", letters(DOMAINNET, target), f"domainnet:{letter(target)}"),
        )
        for a, b in combinations(range(len(trained.sources)), 2):
            yield Cell(
                row=row,
                column=f"mask IoU {letter(trained.sources[a])}-{letter(trained.sources[b])}",
                measurements=tuple(
                    Measurement.of(trained, "mask IoU", "training", detail=f"iou/{site}/{a}-{b}") for site in SITES
                ),
            )
        whole = Measurement.of(trained, "mask IoU", "training", detail="iou")
        yield Cell(row=row, column="mask IoU, overall", measurements=(whole,))
        yield Cell(
            row=row,
            column="units on",
            measurements=tuple(
                Measurement.of(trained, "units on", "training", detail=f"units/{site}/active") for site in SITES
            ),
        )


FIGURE_5 = "which domain was held out is not said: all six"


def figure_5() -> Iterator[Cell]:
    for weight in WEIGHTS:
        for target in DOMAINNET.training_images:
            trained = weighted("overlap", weight, target)
            for site in SITES:
                yield Cell(
                    row=f"overlap {weight:g}",
                    column=f"{letter(target)} held out, {SITE_NAMES[site]}",
                    measurements=(Measurement.of(trained, "mask IoU", "training", detail=f"iou/{site}"),),
                )
