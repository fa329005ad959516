"""What a table or figure of a paper is made of: cells, each the mean of measurements, each with the number that the
paper prints for it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from raydg.adaptation import Adaptation, TrainBN
from raydg.experiment import Experiment, Study
from raydg.methods import Inference
from raydg.report import averaged
from raydg.values import Value

Metric = Literal[
    "mIoU",
    "IoU",
    "accuracy",
    "ECE per image and class",
    "ms/image",
    "parameters (M)",
    "GMAC",
    "mask IoU",
    "units on",
    "distance",
    "loss",
    "IoU difference",
    "features",
    "attention",
    "pictures",
]
"""What is measured. In percent: mIoU, IoU of one class, accuracy (top-1), and self-adaptation's own calibration error
(`Calibration.per_image_per_class_ece`). "mask IoU" and "units on" are shares, of DMG's thresholded masks; "distance" is
from the weights that a stage began with. A figure is drawn from the last five: the loss over training, the gain of
every image in IoU, pixels' features, the memory's attention, predictions."""

Role = Literal["target", "in-domain", "development", "analysis", "training", "architecture"]
"""Where a measurement comes from. target: an unseen domain, in-domain: held-out splits of a source, development: the
domain that may choose settings; all three with the selected checkpoint. analysis: checkpoints on any domain, for
curves and pictures. training: what the method measured of itself at the selected checkpoint. architecture: the network
as it is built, nothing is trained."""

JUDGED: tuple[Role, ...] = ("target", "in-domain")
"""Roles whose rows `evaluate` writes."""

FIGURES: dict[Metric, str] = {
    "loss": "`raydg report --analysis` draws it over training, after `evaluate`",
    "IoU difference": "`raydg report` draws it image by image, after `evaluate`",
    "features": "`raydg report --embedding` draws them, after `evaluate`",
    "attention": "`raydg predict --write memory` draws it of any images",
    "pictures": "`raydg report` draws them, after `evaluate`",
}
"""Where what is no number is drawn."""


@dataclass(frozen=True, kw_only=True)
class Printed(Value):
    """A number as a paper prints it: what tells its row apart in the table of published results.

    Texts are that table's own, empty where it has none; rows that a paper only quotes are not meant.
    """

    paper: str
    """`tsmldg`, `pin-the-memory`, `self-adaptation`, `deft` or `dmg`."""
    table: str
    """`T3`, `F4`; `T1a` where a table has parts."""
    method: str
    """The row, in the paper's words."""
    network: str = ""
    backbone: str = ""
    sources: str = ""
    """Letters: `G+S`, `domainnet:I+P+Q+R+S`."""
    target: str = ""
    """A letter, `mean`, or the sources whose held-out splits are averaged."""
    metric: str = "mIoU"
    class_name: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """The fields in order."""
        return tuple(getattr(self, name) for name in PRINTED_BY)


PRINTED_BY = ("paper", "table", "method", "network", "backbone", "sources", "target", "metric", "class_name")
"""The fields of `Printed`, which are columns of the table of published results."""


@dataclass(frozen=True, kw_only=True)
class Measurement(Value):
    """One number, or what one picture is drawn from.

    Raises:
        ValueError: a domain that cannot have the role, splits or a detail where there can be none. Whether inference
            and adaptation fit shows in `NamedStudy.study`.
    """

    experiment: Experiment
    """What is trained and how its checkpoint is selected; what judges it is said here, not there."""
    metric: Metric
    role: Role
    domain: str | None = None
    """Prepared domain that is measured on; None where no image is needed."""
    splits: tuple[str, ...] | None = None
    """In-domain: the held-out splits of the source."""
    inference: Inference
    adaptation: Adaptation
    detail: str | None = None
    """Of IoU the class; of GMAC height and width of the image, `1024x2048`; of what the method measured of itself its
    name in metrics.jsonl."""

    def __post_init__(self) -> None:
        super().__post_init__()
        needs_detail = self.metric in ("IoU", "GMAC", "mask IoU", "units on", "distance")
        self.require((self.detail is not None) == needs_detail, "detail", "a name" if needs_detail else "None")
        if self.metric == "IoU":
            legal = self.experiment.label_space.classes
            self.require(self.detail in legal, "detail", f"one of {', '.join(legal)}")
        alone = self.role in ("training", "architecture")
        self.require((self.domain is None) == alone, "domain", "None" if alone else "a domain")
        self.require((self.splits is None) == (self.role != "in-domain"), "splits", "given in-domain and only there")
        sources = ", ".join(self.experiment.sources)
        if self.role in JUDGED:
            is_source = self.domain in self.experiment.sources
            unseen = f"none of the sources {sources}"
            self.require(
                is_source == (self.role == "in-domain"), "domain", unseen if is_source else f"one of {sources}"
            )

    @classmethod
    def on(
        cls,
        experiment: Experiment,
        domain: str,
        adaptation: Adaptation | None = None,
        inference: Inference | None = None,
        metric: Metric | None = None,
        detail: str | None = None,
    ) -> "Measurement":
        """On an unseen domain; by default the headline score of plain inference, by the method's own way to predict."""
        return cls(
            experiment=_trained(experiment),
            metric=metric or headline(experiment),
            role="target",
            domain=domain,
            inference=inference or experiment.stages[-1].method.default_inference(),
            adaptation=adaptation or TrainBN(),
            detail=detail,
        )

    @classmethod
    def in_domain(
        cls,
        experiment: Experiment,
        domain: str,
        splits: tuple[str, ...] = ("val",),
        adaptation: Adaptation | None = None,
        inference: Inference | None = None,
    ) -> "Measurement":
        """On held-out splits of a source, likewise."""
        return cls(
            experiment=_trained(experiment),
            metric=headline(experiment),
            role="in-domain",
            domain=domain,
            splits=splits,
            inference=inference or experiment.stages[-1].method.default_inference(),
            adaptation=adaptation or TrainBN(),
        )

    @classmethod
    def of(
        cls,
        experiment: Experiment,
        metric: Metric,
        role: Role,
        domain: str | None = None,
        detail: str | None = None,
        adaptation: Adaptation | None = None,
    ) -> "Measurement":
        """Anything else."""
        return cls(
            experiment=_trained(experiment),
            metric=metric,
            role=role,
            domain=domain,
            inference=experiment.stages[-1].method.default_inference(),
            adaptation=adaptation or TrainBN(),
            detail=detail,
        )

    @property
    def classes(self) -> str:
        """What the score averages over, in words."""
        return self.detail or "" if self.metric == "IoU" else averaged(self.experiment)


def headline(experiment: Experiment) -> Metric:
    """The score that tables show."""
    return "mIoU" if experiment.label_space.task == "segmentation" else "accuracy"


def _trained(experiment: Experiment) -> Experiment:
    """The experiment without what judges it, so that measurements of one training hold the same value."""
    return replace(experiment, targets=(), adaptations=(TrainBN(),), choices=(), inferences=None, in_domain_splits=None)


@dataclass(frozen=True, kw_only=True)
class Cell(Value):
    """A place in a table or figure: the mean of its measurements.

    Raises:
        ValueError: no measurement and no reason why, or measurements of several metrics.
    """

    row: str
    """As the paper calls it."""
    column: str
    measurements: tuple[Measurement, ...] = ()
    """Each counts alike; several where the paper prints an average."""
    published: tuple[Printed, ...] = ()
    """What the paper prints here; several where it is lost which of them belongs here."""
    missing: str | None = None
    """Why raydg cannot fill it, or None. With measurements what they need can be trained all the same."""

    def __post_init__(self) -> None:
        super().__post_init__()
        legal = "at least one, unless `missing` says why there is none"
        self.require(bool(self.measurements or self.missing), "measurements", legal)
        self.require(len({m.metric for m in self.measurements}) <= 1, "measurements", "of one metric")

    @property
    def metric(self) -> Metric | None:
        """Of its measurements; None where there are none."""
        return self.measurements[0].metric if self.measurements else None


@dataclass(frozen=True, kw_only=True)
class NamedStudy(Value):
    """A table or figure of a paper: the rows that its authors ran themselves.

    Raises:
        ValueError: no cell, two cells in one place, or a name that is not `paper/table`.
    """

    name: str
    """`tsmldg/T3`."""
    title: str
    """What it shows."""
    cells: tuple[Cell, ...]
    notes: tuple[str, ...] = ()
    """What a reader must know to compare."""
    data: str = "data"
    """Folder of the prepared domains, unless flags say otherwise."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.name.count("/") == 1 and not self.name.startswith("/"), "name", "paper/table")
        self.require(len(self.cells) >= 1, "cells", "at least one cell")
        places: set[tuple[str, str]] = set()
        for cell in self.cells:
            if (cell.row, cell.column) in places:
                raise ValueError(f"NamedStudy {self.name!r} has two cells in row {cell.row!r}, column {cell.column!r}.")
            places.add((cell.row, cell.column))

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """Of all cells, each once."""
        return tuple(dict.fromkeys(m for cell in self.cells for m in cell.measurements))

    def study(self) -> Study | None:
        """What has to be trained, and how it is judged, to fill the cells; None where nothing has to be trained."""
        by_training: dict[Experiment, list[Measurement]] = {}
        for measurement in self.measurements:
            if measurement.role != "architecture":
                by_training.setdefault(measurement.experiment, []).append(measurement)
        if not by_training:
            return None
        experiments = tuple(judging(experiment, found) for experiment, found in by_training.items())
        return Study(name=self.name.replace("/", "-"), experiments=experiments)


def judging(experiment: Experiment, measurements: Iterable[Measurement]) -> Experiment:
    """The experiment, judged as its measurements need it: their domains, inferences and adaptations.

    Unseen domains of an analysis are targets, too: it looks only at those that were scored after selection. Where
    all is measured in training there is nothing to judge.
    """
    sources = experiment.sources
    wanted = [m for m in measurements if m.role in JUDGED or (m.role == "analysis" and m.domain not in sources)]
    own = (experiment.stages[-1].method.default_inference(),)
    inferences = tuple(dict.fromkeys(m.inference for m in wanted)) or own
    splits = dict.fromkeys(split for m in wanted for split in m.splits or ())
    return replace(
        experiment,
        targets=tuple(dict.fromkeys(m.domain for m in wanted if m.role != "in-domain")),
        adaptations=tuple(dict.fromkeys(m.adaptation for m in wanted)) or (TrainBN(),),
        inferences=None if inferences == own else inferences,
        in_domain_splits=tuple(splits) or None,
    )


def mean_cell(row: str, column: str, cells: Sequence[Cell], published: tuple[Printed, ...] = ()) -> Cell:
    """The average that a paper prints beside cells of one row; cells that cannot be filled leave it empty too."""
    missing = next((cell.missing for cell in cells if cell.missing), None)
    measurements = tuple(m for cell in cells for m in cell.measurements)
    return Cell(row=row, column=column, measurements=measurements, published=published, missing=missing)
