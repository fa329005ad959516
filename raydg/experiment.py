"""The typed value that decides a result: what is trained, on what, how, and how it is judged.

An `Experiment` is checked when it is built, before a GPU is booked. How it runs (workers, machines, folders) is a
`Resources` value beside it and decides nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Literal

import torch
from torch import nn

from raydg.adaptation import Adaptation, Choice, Sees, TrainBN
from raydg.augmentation import Augmentation
from raydg.domains.labels import LabelSpace
from raydg.methods import Inference, Method
from raydg.models import Architecture
from raydg.optimization import Optimizer, Poly, Schedule
from raydg.plan import Sampling
from raydg.protocol import Protocol, Resized, WholeImage
from raydg.seeds import fold
from raydg.values import Value, encode, fingerprint, subclasses

Selection = Literal["source-validation", "development", "last"]


@dataclass(frozen=True, kw_only=True)
class Stage(Value):
    """A stretch of training under one method; an experiment is a sequence of stages that hand the network on.

    Raises:
        ValueError: no step, or a schedule whose horizon ends before the stage.
    """

    method: Method
    """The training objective."""
    optimizer: Optimizer
    """Starts afresh in every stage."""
    schedule: Schedule = field(default_factory=Poly)
    """Learning rate over the stage, as a factor of the optimiser's."""
    extras_schedule: Schedule | None = None
    """Likewise for what the method learns beside the network; None: as the network's."""
    steps: int
    """Optimiser steps."""
    clip_norm: float | None = None
    """Largest norm of the whole gradient, or None not to clip (none of the five papers does)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.steps >= 1, "steps", "1 or more")
        self.require(self.clip_norm is None or self.clip_norm > 0, "clip_norm", "None or above 0")
        self.schedule.check(self.steps)
        if self.extras_schedule is not None:
            self.extras_schedule.check(self.steps)


@dataclass(frozen=True, kw_only=True)
class Experiment(Value):
    """One training and the judgements of it.

    Raises:
        ValueError: a domain in two roles, a method with too few sources, an adaptation or task that does not fit the
        network, a
            selection rule without its domain.
    """

    name: str
    """What tables and the tracker call it; experiments that differ only in seed share it."""
    label_space: LabelSpace
    """Classes that the prepared domains are labelled with."""
    sources: tuple[str, ...]
    """Prepared domains to train on. One listed twice counts as two pseudo-domains."""
    targets: tuple[str, ...] = ()
    """Domains that nobody sees before a checkpoint is selected."""
    development: str | None = None
    """Domain that may choose checkpoints and settings, but neither trains nor is reported (self-adaptation uses
    WildDash)."""
    model: Architecture
    """The network."""
    stages: tuple[Stage, ...]
    """Training, in order."""
    sampling: Sampling
    """How a step draws its images."""
    augmentation: Augmentation
    """What is done to an image before it trains."""
    adaptations: tuple[Adaptation, ...] = (TrainBN(),)
    """Ways of meeting the targets, each scored."""
    choices: tuple[Choice, ...] = ()
    """Further ways, whose settings are chosen first, by the sources' validation splits or the development domain; what
    was chosen is scored."""
    inferences: tuple[Inference, ...] | None = None
    """Ways to predict with what the last stage's method trained, each scored under every adaptation; None: the method's
    own. One that uses what was learnt on the domain it meets is scored on sources only (`in_domain_splits`)."""
    target_splits: tuple[str, ...] | None = None
    """Splits of a target, or named parts of them, that are scored; None: its validation split where it has one, else
    everything."""
    in_domain_splits: tuple[str, ...] | None = None
    """Held-out splits of the sources that are scored after selection, as in-domain results; None: none."""
    scored_classes: tuple[str, ...] | None = None
    """Classes that mean IoU averages over, None: all; pixels of the others do not count. SYNTHIA has 16 of the 19."""
    evaluation_size: tuple[int, int] | None = None
    """Height and width, pixels, that an image is resized to before it is predicted, or None for its own; scores are at
    the label's own size either way. Classifiers need it."""
    protocol: Protocol | None = None
    """How targets and in-domain images are shown to the network after selection, and what of their labels counts, as
    papers differ in it; None: as in validation, which follows `evaluation_size`. Validation never uses it, so one
    training may be judged by several."""
    selection: Selection = "source-validation"
    """Which checkpoint of the last stage is judged: the best mean over the sources' validation splits, the best on the
    development domain, or the last."""
    validate_every: int | None = None
    """Steps between checkpoints that are validated, counted over all stages; None: only at the end of each stage."""
    keep_checkpoints: int | None = None
    """How many checkpoints stay, the best and the last; None keeps all, as an oracle score needs, and a choice made
    jointly with the checkpoint. Trainings that differ in nothing else share a folder: what one has pruned is gone for
    all."""
    precision: Literal["float32", "float64", "bf16"] = "float32"
    """Arithmetic of training: plain, double (for tests), or bfloat16 autocast with float32 weights."""
    reduction: Literal["ddp", "exact"] = "ddp"
    """How gradients are added over episodes and workers: overlapped, or in an order-free way that is bit-identical for
    any worker count (see raydg.reduction for the cost)."""
    seed: int = 0
    """Everything random follows from it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(bool(self.name) and "/" not in self.name, "name", "a word or two without a slash")
        self.require(len(self.sources) >= 1, "sources", "at least one domain")
        self.require(len(self.stages) >= 1, "stages", "at least one stage")
        self.require(len(set(self.targets)) == len(self.targets), "targets", "domains that differ")
        splits = self.target_splits
        self.require(
            splits is None or 0 < len(splits) == len(set(splits)), "target_splits", "None or splits that differ"
        )
        held_out = self.in_domain_splits
        self.require(
            held_out is None or (0 < len(held_out) == len(set(held_out)) and "train" not in held_out),
            "in_domain_splits",
            "None or splits that differ and are held out: 'train' is what the sources train on",
        )
        scored, classes = self.scored_classes, self.label_space.classes
        self.require(
            scored is None or (0 < len(scored) == len(set(scored)) and set(scored) <= set(classes)),
            "scored_classes",
            f"None or some of {', '.join(classes)}, each once",
        )
        self.require(scored is None or self.label_space.task == "segmentation", "scored_classes", "None for images")
        self.require(len(self.adaptations) >= 1, "adaptations", "at least one; TrainBN() is plain inference")
        labels = [label for adaptation in self.adaptations for label in adaptation.variants]
        labels += [choice.label for choice in self.choices]
        self.require(
            len(set(labels)) == len(labels), "adaptations", "adaptations with labels that differ, choices included"
        )
        self.require(self.inferences is None or len(self.inferences) >= 1, "inferences", "None or at least one")
        labels = [inference.label for inference in self.inferences or ()]
        self.require(len(set(labels)) == len(labels), "inferences", "inferences with labels that differ")
        self.require(
            self.evaluation_size is None or min(self.evaluation_size) >= 1, "evaluation_size", "None or 1 or more"
        )
        self.require(self.validate_every is None or self.validate_every >= 1, "validate_every", "None or 1 or more")
        self.require(
            self.keep_checkpoints is None or self.keep_checkpoints >= 1, "keep_checkpoints", "None or 1 or more"
        )
        self._check_domains()
        self._check_fit()

    def _check_domains(self) -> None:
        reserved = {target: "target" for target in self.targets}
        for domain in self.sources:
            if domain in reserved:
                raise ValueError(f"Experiment: {domain!r} is a source and a target: an unseen domain must not train.")
        if self.development in reserved:
            raise ValueError(
                f"Experiment: {self.development!r} is the development domain and a target: what chooses the "
                "checkpoint must not be "
                f"judged on it. Take another development domain or drop it from the targets."
            )
        if self.development in self.sources:
            raise ValueError(
                f"Experiment: {self.development!r} is the development domain and a source: take another one."
            )
        if self.selection == "development" and self.development is None:
            raise ValueError("Experiment.selection is 'development' but no development domain is named.")
        for choice in self.choices:
            if choice.on == "development" and self.development is None:
                raise ValueError(
                    f"Experiment.choices: {choice.label!r} needs a development domain and none is named. Name one, or "
                    "set Choice.on to 'source-validation'."
                )
            if choice.jointly and self.keep_checkpoints is not None:
                raise ValueError(
                    f"Experiment.keep_checkpoints is {self.keep_checkpoints}, and {choice.label!r} scores every "
                    "checkpoint: it must be None, for what was pruned cannot be chosen."
                )

    def _check_fit(self) -> None:
        if self.model.task != self.label_space.task:
            raise ValueError(
                f"Experiment.model is for {self.model.task}, but the label space {self.label_space.name!r} is for "
                f"{self.label_space.task}."
            )
        if self.model.task == "classification" and self.evaluation_size is None:
            raise ValueError(
                "Experiment.evaluation_size is None: a classifier needs the height and width of its test images."
            )
        if self.model.task == "classification" and self.protocol is not None and not self.protocol.one_size:
            fitting = ", ".join(sorted(cls.__name__ for cls in subclasses(Protocol) if cls.one_size))
            raise ValueError(
                f"Experiment.protocol is {type(self.protocol).__name__}: a classifier needs images of one size. "
                f"Take None or one of {fitting}."
            )
        for stage in self.stages:
            stage.method.check_sources(len(self.sources))
            stage.method.check_model(self.model)
            if stage.method.needs_every_source and self.sampling.balance == "proportional":
                raise ValueError(
                    "Sampling.balance is 'proportional': an episode may then lack a domain, and "
                    f"{type(stage.method).__name__} needs "
                    "all of them. Use 'equal' or 'class-uniform'."
                )
            domains = 1 if stage.method.smallest_forward == "one domain" else len(self.sources)
            images = self.sampling.images_per_domain * domains
            if images < self.model.minimum_batch:
                raise ValueError(
                    f"Sampling.images_per_domain is {self.sampling.images_per_domain}: "
                    f"{type(stage.method).__name__} then has forwards "
                    f"of {images} image, and {type(self.model).__name__} needs {self.model.minimum_batch} to "
                    "train. Raise it, and lower "
                    "Sampling.episodes_per_step to keep the batch."
                )
        for inference in self.inferences or ():
            inference.check(self.stages[-1].method, self.source_names)
            scored = self.targets if self.in_domain_splits is None else (*self.targets, *self.sources)
            if scored and not any(inference.predicts(self.source_names, domain) for domain in scored):
                raise ValueError(
                    f"Experiment.inferences: {type(inference).__name__} predicts on sources only, and none is scored. "
                    "Name held-out splits of theirs in Experiment.in_domain_splits."
                )
        of_choices = (candidate for choice in self.choices for candidate in choice.candidates)
        for adaptation in (*self.adaptations, *of_choices):
            if self.model.task not in adaptation.tasks:
                raise ValueError(
                    f"Experiment.adaptations: {adaptation.label} is for {' or '.join(adaptation.tasks)}, and "
                    f"{type(self.model).__name__} is for {self.model.task}. TrainBN() fits every network."
                )
            if adaptation.needs_batchnorm and self.model.normalisation != "batch":
                raise ValueError(
                    f"Experiment.adaptations: {adaptation.label} replaces BatchNorm statistics, and "
                    f"{type(self.model.backbone).__name__} has no "
                    f"BatchNorm. TrainBN() fits every network."
                )
            if type(adaptation).check_parts is not Adaptation.check_parts:  # else no network need be built
                self._check_parts(adaptation)

    def _check_parts(self, adaptation: Adaptation) -> None:
        for inference in self.scored_inferences:
            try:
                adaptation.check_parts(_evaluated(self.model, self.stages[-1].method, inference, self.source_names))
            except ValueError as error:
                # An experiment may be listed where the library that builds its network is not installed.
                if not isinstance(error.__cause__, ImportError):
                    raise ValueError(f"Experiment.adaptations: {error}") from None

    @property
    def scored_inferences(self) -> tuple[Inference, ...]:
        """`inferences`, or the own one of the last stage's method."""
        return self.inferences or (self.stages[-1].method.default_inference(),)

    @property
    def validation_protocol(self) -> Protocol:
        """What validation shows of an image."""
        return Resized(*self.evaluation_size) if self.evaluation_size else WholeImage()

    @property
    def scored_protocol(self) -> Protocol:
        """What is shown of an image of a target, or in-domain."""
        return self.protocol or self.validation_protocol

    @property
    def variants(self) -> tuple[str, ...]:
        """Labels of all results that the adaptations give, in order."""
        return tuple(label for adaptation in self.adaptations for label in adaptation.variants)

    @property
    def sees(self) -> dict[str, Sees]:
        """What of a target a result depends on, by the labels of all results: of adaptations, then of choices."""
        found: dict[str, Sees] = {label: one.sees for one in self.adaptations for label in one.variants}
        for choice in self.choices:
            found[choice.label] = choice.sees
        return found

    @property
    def result_after(self) -> int:
        """The step at which the last stage begins: checkpoints of later steps are results, earlier ones a way there."""
        return self.steps - self.stages[-1].steps

    @property
    def steps(self) -> int:
        """Optimiser steps of all stages together."""
        return sum(stage.steps for stage in self.stages)

    @property
    def result_steps(self) -> tuple[int, ...]:
        """Steps after which training writes a checkpoint of the last stage, whether or not it stays."""
        every = self.validate_every or self.steps
        return (*range((self.result_after // every + 1) * every, self.steps, every), self.steps)

    @property
    def scored_ids(self) -> tuple[int, ...] | None:
        """Ids of `scored_classes`."""
        scored = self.scored_classes
        return None if scored is None else tuple(map(self.label_space.classes.index, scored))

    @property
    def source_names(self) -> tuple[str, ...]:
        """Names of the sources, told apart where one domain is listed more than once: `gtav`, `gtav:2`."""
        names = []
        for i, source in enumerate(self.sources):
            turn = self.sources[: i + 1].count(source)
            names.append(source if turn == 1 else f"{source}:{turn}")
        return tuple(names)

    @property
    def batch_size(self) -> int:
        """Images of one step, over all domains and episodes."""
        return self.sampling.images_per_domain * self.sampling.episodes_per_step * len(self.sources)

    def training_fingerprint(self) -> str:
        """SHA-256 of what decides the trained weights and their validation scores: all but the name, what judges them,
        and what is kept."""
        judging = {"name", "targets", "target_splits", "in_domain_splits", "scored_classes", "inferences"}
        judging |= {"adaptations", "choices", "protocol", "selection", "keep_checkpoints"}
        return fingerprint({f.name: encode(getattr(self, f.name)) for f in fields(self) if f.name not in judging})

    def fold(self, *parts: int | str) -> int:
        """A seed for the purpose that `parts` name; see raydg.seeds."""
        return fold(self.seed, *parts)

    def stage_at(self, step: int) -> tuple[int, int]:
        """The stage that global step number `step` belongs to, and the step's number inside it."""
        for number, stage in enumerate(self.stages):
            if step < stage.steps:
                return number, step
            step -= stage.steps
        raise ValueError(f"step {step + self.steps} is past the end: the experiment has {self.steps} steps.")


@cache
def _evaluated(model: Architecture, method: Method, inference: Inference, sources: tuple[str, ...]) -> nn.Module:
    """What is evaluated, as it is built, without weights."""
    with torch.device("meta"):
        trained = method.wrap(model.assemble(num_classes=2), len(sources), num_classes=2)
        return inference.module(trained, sources, sources[0])


@dataclass(frozen=True, kw_only=True)
class Ensemble(Value):
    """Seeds of an experiment that predict together, each by its selected checkpoint: their probabilities are averaged.

    Self-adaptation's Figures 2 and 5 have one of ten seeds, with t-BN, IaBN and TTA. Seeds form disjoint groups of
    `size` in rising order, those left over none; a group is to an ensemble what a seed is to a network, so a ± over
    groups says how much ensembles differ, and a single group has none.

    Raises:
        ValueError: a size below 1, or no adaptation.
    """

    size: int
    """Seeds that predict together; 1 is the experiment itself."""
    adaptations: tuple[Adaptation, ...] | None = None
    """How the members meet the targets, each by itself; None: in every way of their experiment, its choices included,
    in which every seed has a setting of its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.size >= 1, "size", "1 or more")
        self.require(self.adaptations is None or len(self.adaptations) >= 1, "adaptations", "None or at least one")

    def asks(self, experiment: Experiment) -> Experiment:
        """The experiment as its seeds are judged together."""
        if self.adaptations is None:
            return experiment
        return replace(experiment, adaptations=self.adaptations, choices=())

    def called(self, experiment: Experiment) -> str:
        """What tables call it."""
        return f"{experiment.name}, ensemble of {self.size}"

    def groups(self, experiments: Sequence[Experiment]) -> list[tuple[Experiment, ...]]:
        """The members of every group, seeds rising, among experiments of which some differ in nothing but the seed."""
        alike: dict[Experiment, dict[int, Experiment]] = {}
        for experiment in experiments:
            alike.setdefault(replace(experiment, seed=0), {})[experiment.seed] = experiment
        found = []
        for of_seed in alike.values():
            members = [self.asks(of_seed[seed]) for seed in sorted(of_seed)]
            full = len(members) // self.size * self.size
            found += [tuple(members[start : start + self.size]) for start in range(0, full, self.size)]
        return found


@dataclass(frozen=True, kw_only=True)
class Study(Value):
    """A named set of experiments: methods x folds x seeds x adaptations, run by one command and compared in one table.

    Raises:
        ValueError: no experiment, the same one twice, or different ones under one name on one target; ensembles of one
            size, or that an experiment does not fit.
    """

    name: str
    """What the tracker calls the parent run."""
    experiments: tuple[Experiment, ...]
    ensembles: tuple[Ensemble, ...] = ()
    """What else is scored when its members are trained: their seeds together."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(bool(self.name) and "/" not in self.name, "name", "a word or two without a slash")
        self.require(len(self.experiments) >= 1, "experiments", "at least one experiment")
        for i, experiment in enumerate(self.experiments):
            if experiment in self.experiments[:i]:
                raise ValueError(f"Study {self.name!r} holds {experiment.name!r} with seed {experiment.seed} twice.")
            for other in self.experiments[:i]:
                shared = set(experiment.targets) & set(other.targets) if experiment.name == other.name else ()
                if shared and replace(other, seed=experiment.seed) != experiment:
                    raise ValueError(
                        f"Study {self.name!r} holds different experiments called {experiment.name!r} on "
                        f"{min(shared)!r}: one cell of "
                        "its table would mix them. Give each a name of its own."
                    )
        sizes = [ensemble.size for ensemble in self.ensembles]
        self.require(len(set(sizes)) == len(sizes), "ensembles", "ensembles of sizes that differ")
        for ensemble in self.ensembles:
            for experiment in self.experiments:
                for choice in ensemble.asks(experiment).choices:
                    if not choice.meets_alike:
                        raise ValueError(
                            f"Study.ensembles: members of {ensemble.called(experiment)!r} may choose candidates of "
                            f"{choice.label!r} that meet images in different batches. Name its adaptations."
                        )

    def with_seeds(self, seeds: Sequence[int]) -> "Study":
        """The same experiments, each once for every seed."""
        distinct = dict.fromkeys(replace(experiment, seed=0) for experiment in self.experiments)
        return replace(self, experiments=tuple(replace(e, seed=seed) for e in distinct for seed in seeds))
