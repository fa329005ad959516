"""What has been scored of a study, read for whoever shows it; nothing is scored here."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from raydg import report
from raydg.checkpoint import RunFolder
from raydg.evaluation import Row
from raydg.experiment import Ensemble, Experiment, Study
from raydg.judging.answers import recorded
from raydg.judging.questions import plan, plan_selecting
from raydg.judging.ways import Member, Way, alone, competing, in_order, together, ways_of
from raydg.records import Record
from raydg.resources import Resources
from raydg.selection import Chosen, Selected, choose
from raydg.statistics import Tallies


def scored_rows(study: Study, resources: Resources) -> list[tuple[Experiment, list[Row]]]:
    """What has been scored of a study: every experiment with its `selected_rows`, then every ensemble, as an experiment
    that is called so and has the lowest seed of its members, with those of its own."""
    resources = resources.resolved()
    scored = [(experiment, selected_rows(experiment, resources)) for experiment in study.experiments]
    return scored + rows_of_ensembles(study, resources)


def rows_of_ensembles(study: Study, resources: Resources) -> list[tuple[Experiment, list[Row]]]:
    """Of these the ensembles alone."""
    resources = resources.resolved()
    return [(joint, _rows(joint, ways, resources)) for joint, ways in _ensembles(study, resources)]


def selected_rows(experiment: Experiment, resources: Resources) -> list[Row]:
    """Rows of the checkpoint that the experiment's rule selects: on the sources' validation splits, and on the targets
    and in-domain in the ways that the experiment names; those that its choices came to with theirs."""
    folder = RunFolder.of(experiment, resources.runs)
    rows = folder.validation_rows(experiment)
    if not rows:
        return []
    selected = folder.selected(experiment)
    chosen = decided(experiment, folder, selected, resources.data)
    ways = [alone(way) for way in ways_of(experiment, folder, selected, chosen)]
    sources = [row for row in rows if row.step == selected.step and row.role == "source-validation"]
    scored = [row for row in recorded(plan(experiment, ways, resources.data)) if row is not None]
    return sources + scored if scored else []


def choices(experiment: Experiment, resources: Resources) -> dict[str, Chosen]:
    """What the experiment's choices came to, by their labels; those that lack scores are left out."""
    folder = RunFolder.of(experiment, resources.runs)
    if not experiment.choices or not folder.validation_rows(experiment):
        return {}
    return decided(experiment, folder, folder.selected(experiment), resources.data)


def _ensembles(study: Study, resources: Resources) -> Iterator[tuple[Experiment, list[Way]]]:
    """Every ensemble, as in `scored_rows`, with its ways; none while a member has no checkpoint to select."""
    for ensemble in study.ensembles:
        for members in ensemble.groups(study.experiments):
            joint = replace(members[0], name=ensemble.called(members[0]))
            yield joint, _ways_together(members, resources)


def _ways_together(experiments: Sequence[Experiment], resources: Resources) -> list[Way]:
    ways = []
    for experiment in in_order(experiments):
        folder = RunFolder.of(experiment, resources.runs)
        if not folder.validation_rows(experiment):
            return []
        selected = folder.selected(experiment)
        chosen = decided(experiment, folder, selected, resources.data)
        ways.append(ways_of(experiment, folder, selected, chosen))
    return together(ways)


def _rows(joint: Experiment, ways: Sequence[Way], resources: Resources) -> list[Row]:
    """What has been scored of an ensemble on the targets and in-domain."""
    return [row for row in recorded(plan(joint, ways, resources.data)) if row is not None]


def remarks(study: Study, resources: Resources) -> dict[str, tuple[str, ...]]:
    """What tables must say of experiments and ensembles, by the names that they are called: what was chosen, and who
    predicts together."""
    said = {name: list(texts) for name, texts in remarks_on_choices(study.experiments, resources).items()}
    for ensemble in study.ensembles:
        names = dict.fromkeys(experiment.name for experiment in study.experiments)
        for name in names:
            alike = [experiment for experiment in study.experiments if experiment.name == name]
            if groups := ensemble.groups(alike):
                said.setdefault(ensemble.called(alike[0]), []).append(_together(name, ensemble, groups))
            else:
                said.setdefault(name, []).append(_too_few(name, ensemble, alike))
    return {name: tuple(dict.fromkeys(texts)) for name, texts in said.items()}


def remarks_on_choices(experiments: Sequence[Experiment], resources: Resources) -> dict[str, tuple[str, ...]]:
    """Of these what was chosen; the experiments may be any, such as settings that a search has drawn."""
    resources = resources.resolved()
    said: dict[str, list[str]] = {}
    for experiment in experiments:
        if experiment.choices and RunFolder.of(experiment, resources.runs).validation_rows(experiment):
            said.setdefault(experiment.name, []).extend(_came_to(experiment, choices(experiment, resources)))
    return {name: tuple(dict.fromkeys(texts)) for name, texts in said.items()}


def _came_to(experiment: Experiment, chosen: Mapping[str, Chosen]) -> Iterator[str]:
    for label, found in chosen.items():
        yield (
            f"{experiment.name}, seed {experiment.seed}: {label}: {found.adaptation}, at step {found.step} "
            f"({found.score:.2f})"
        )


def _together(name: str, ensemble: Ensemble, groups: Sequence[Sequence[Experiment]]) -> str:
    seeds = dict.fromkeys(" ".join(str(member.seed) for member in members) for members in groups)
    several = "± over the groups" if len(seeds) > 1 else "a single group, so it has no ±"
    return (
        f"{name}, ensemble of {ensemble.size}: mean of the probabilities of {ensemble.size} seeds, each adapting by "
        f"itself (seeds {'; '.join(seeds)}); {several}"
    )


def _too_few(name: str, ensemble: Ensemble, alike: Sequence[Experiment]) -> str:
    seeds = sorted({experiment.seed for experiment in alike})
    return (
        f"no ensemble of {ensemble.size} of {name}: it has the seeds {' '.join(map(str, seeds))} (--seeds gives others)"
    )


def baseline(
    name: str | None,
    resources: Resources,
    folder_of: Callable[[Experiment], RunFolder] | None = None,
    study: Study | None = None,
) -> report.Baseline | None:
    """What tables compare with, reading the images behind each row from the run's folder.

    Args:
        name: of the experiment; None: nothing is compared.
        resources: resolved.
        folder_of: the folder of an experiment's rows; by default its own.
        study: whose ensembles are compared too, each by what is in its own folder.
    """
    if name is None:
        return None
    of_ensembles = {
        (joint, way.label or variant): way.folder
        for joint, ways in (_ensembles(study, resources) if study else ())
        for way in ways
        for variant in way.variants
    }

    @cache
    def record(path: Path) -> Record:
        return Record.load(path)

    def tallies(experiment: Experiment, row: Row) -> Tallies | None:
        variants = [
            (adaptation.variants.index(row.adaptation)) - len(adaptation.variants)
            for adaptation in experiment.adaptations
            if row.adaptation in adaptation.variants
        ]
        variants += [-1 for choice in experiment.choices if choice.label == row.adaptation]
        folder = of_ensembles.get((experiment, row.adaptation))
        if folder is None:
            folder = folder_of(experiment) if folder_of else RunFolder.of(experiment, resources.runs)
        if row.record is None or not variants or not (folder.path / row.record).exists():
            return None
        kept = record(folder.path / row.record)
        return Tallies.of(kept, experiment.label_space.task, experiment.scored_ids, variants[0])

    return report.Baseline(name, tallies)


def decided(experiment: Experiment, folder: RunFolder, selected: Selected, data: str) -> dict[str, Chosen]:
    """Likewise, of what has been scored; a choice that lacks scores is left out."""
    found = {}
    for choice in experiment.choices:
        ways = [
            Way((Member(folder, step, candidate),))
            for step in competing(choice.jointly, experiment, folder, selected)
            for candidate in choice.candidates
        ]
        rows = recorded(plan_selecting(experiment, ways, choice.on, data))
        if all(row is not None for row in rows):
            labels = [candidate.label for candidate in choice.candidates]
            task, classes = experiment.label_space.task, experiment.scored_ids
            there = [row for row in rows if row is not None]
            found[choice.label] = choose(there, labels, choice.on, task, classes)
    return found
