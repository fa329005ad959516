"""Which model of a study is registered, and its generalisation card: what it was trained on, how it was chosen, and
what it is worth where nobody trained it.

The choice reads what may select and nothing else: sources' validation or the development domain. Targets appear on the
card, which is written after the choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from raydg import report
from raydg.adaptation import Adaptation
from raydg.checkpoint import Checkpoint, RunFolder
from raydg.experiment import Experiment
from raydg.judging.read import choices, selected_rows
from raydg.licence import commercial_use
from raydg.overview import code
from raydg.page.evidence import STUDY, Judged, gather
from raydg.prediction import ImagePredictor
from raydg.resources import Resources
from raydg.selection import Selected


@dataclass(frozen=True)
class Candidate:
    """A checkpoint that is to be registered, and what is known of it."""

    checkpoint: Checkpoint
    experiment: Experiment
    """As the study has it: what judges it may differ from what its checkpoint was written with."""
    judged: tuple[Judged, ...]
    """Its experiment with every seed of the study, or alone; empty where its run's folder is not there."""
    selected: Selected | None
    """By which rule it was chosen among its run's checkpoints; None where it was given, not chosen."""
    compared: int = 1
    """Experiments that the selection score compared."""

    def card(self, predictor: ImagePredictor) -> str:
        """The generalisation card, in Markdown, of what `predictor` does with the checkpoint."""
        experiment, way = self.experiment, predictor.way()
        licences = self.checkpoint.licences()
        facts = {
            "method": ", then ".join(code(stage.method) for stage in experiment.stages),
            "network": code(experiment.model),
            "predicts by": f"{predictor.inference.label}, {predictor.adaptation.label} "
            f"(sees {predictor.adaptation.sees})",
            "classes": f"{experiment.label_space.name}, scores over {report.averaged(experiment)}",
            "sources": ", ".join(experiment.source_names),
            "training": f"{experiment.steps:,} steps of {experiment.batch_size} images, seed {experiment.seed}, "
            f"checkpoint of step {self.checkpoint.step}",
            "selection": self._selection(),
            "images are shown": experiment.scored_protocol.label,
            "commercial use": commercial_use(licences),
            "fingerprint": f"experiment {experiment.fingerprint()}, training {experiment.training_fingerprint()}, "
            f"weights {way['weights_sha256']}",
        }
        parts = [
            f"# Generalisation card: {experiment.name}",
            "\n".join(f"- **{name}**: {text}" for name, text in facts.items()),
            "## Unseen domains",
            self._scores(predictor),
            "## Licences",
            "\n".join(f"- {each.of}: {each.terms} Commercial use: {each.commercial_use}." for each in licences)
            or "None is recorded.",
            "A score holds for the domains in the table; others may be worse. No legal advice.",
        ]
        return "\n\n".join(parts) + "\n"

    def _selection(self) -> str:
        if self.selected is None:
            return "this checkpoint was given, not chosen"
        score = "" if self.selected.score is None else f", score {self.selected.score:.2f}"
        best = f"; the best of {self.compared} experiments by that score" if self.compared > 1 else ""
        return f"{self.selected.rule}{score}{best}; targets decided nothing"

    def _scores(self, predictor: ImagePredictor) -> str:
        """The table of this way to predict, over all seeds."""
        inference, adaptation = predictor.inference.label, predictor.adaptation.label
        own = next((judged for judged in self.judged if judged.experiment.seed == self.experiment.seed), None)
        here = [row for row in own.targets if row.step == self.checkpoint.step] if own else []
        if own is None or not here:
            return "This checkpoint was not scored on a target: run `evaluate`."
        # It is scored as itself, or as what a choice came to.
        labels = [adaptation, *(label for label in own.chosen if _came_to(own, label, predictor.adaptation))]
        found = [label for label in labels if any((r.inference, r.adaptation) == (inference, label) for r in here)]
        if not found:
            return f"{adaptation} with {inference} was not scored on a target: run `evaluate` with it."
        label, scored, remarks = found[0], [], []
        for judged in self.judged:
            experiment = replace(
                judged.experiment, adaptations=(predictor.adaptation,), inferences=(predictor.inference,)
            )
            rows = [row for row in judged.rows if (row.inference, row.adaptation) == (inference, label)]
            if label == adaptation:
                rows = [row for row in judged.rows if row.role == "source-validation" or row in rows]
                experiment = replace(experiment, choices=())
            elif _came_to(judged, label, predictor.adaptation):
                remarks.append(f"seed {experiment.seed}: {label} came to {adaptation}")
            else:
                continue
            if any(row.role == "target" for row in rows):
                scored.append((experiment, rows))
        return report.markdown(report.table("Scores", scored, remarks={self.experiment.name: remarks}))


def _came_to(judged: Judged, label: str, adaptation: Adaptation) -> bool:
    """Whether a choice of an experiment came to an adaptation."""
    candidates = [each for choice in judged.experiment.choices if choice.label == label for each in choice.candidates]
    return any(each == adaptation and each.label == judged.chosen[label].adaptation for each in candidates)


def of_study(folder: str | Path, data: str) -> Candidate:
    """The checkpoint of a study with the best selection score.

    Experiments without a checkpoint are left out.

    Raises:
        ValueError: none is trained, or scores do not compare: other sources, classes or rules, or the rule "last",
            which has none.
    """
    evidence = gather(Path(folder), data)
    trained = [judged for judged in evidence.judged if judged.folder.validation_rows(judged.experiment)]
    if not trained:
        raise ValueError(f"No experiment of {folder} has a validated checkpoint: run `train` first.")
    if len({_judges_by(judged.experiment) for judged in trained}) > 1:
        folders = "\n".join(f"  {judged.folder.path}: {judged.label}" for judged in trained)
        raise ValueError(
            f"The selection scores of {folder} do not compare, for its experiments differ in sources, classes or "
            f"selection rule. Register one of its runs:\n{folders}"
        )
    chosen = [(judged, judged.folder.selected(judged.experiment)) for judged in trained]
    if len(chosen) > 1 and chosen[0][1].score is None:
        raise ValueError(
            f"The experiments of {folder} select by 'last', which has no score to compare: register one of its runs."
        )
    best, selected = max(chosen, key=lambda each: each[1].score or 0.0)
    alike = [j for j in evidence.judged if replace(j.experiment, seed=best.experiment.seed) == best.experiment]
    checkpoint = best.folder.checkpoint_at(selected.step)
    return Candidate(checkpoint, best.experiment, tuple(alike), selected, len(trained))


def of_checkpoint(checkpoint: Checkpoint, data: str, chosen: bool) -> Candidate:
    """A checkpoint, with what its run's folder says of it.

    Args:
        checkpoint: of a run, or of one that is elsewhere.
        data: folder of the prepared domains.
        chosen: whether the run's rule chose it.
    """
    experiment, folder = checkpoint.experiment, RunFolder(checkpoint.path.parents[1])
    if not folder.metrics.is_file() and not folder.targets.is_file():
        return Candidate(checkpoint, experiment, (), None)
    resources = Resources(data=data, runs=str(folder.path.parent)).resolved()
    judged = Judged(experiment, folder, tuple(selected_rows(experiment, resources)), choices(experiment, resources))
    return Candidate(checkpoint, experiment, (judged,), folder.selected(experiment) if chosen else None)


def is_study(location: str) -> bool:
    """Whether a folder is that of a study."""
    return (Path(location) / STUDY).is_file()


def store_beside(checkpoint: Checkpoint) -> str | None:
    """The MLflow store in the folder of the runs, where there is one; None: MLflow's own default."""
    runs = checkpoint.path.parents[2]
    return f"sqlite:///{runs / 'mlflow.db'}" if (runs / "mlflow.db").is_file() else None


def _judges_by(experiment: Experiment) -> tuple:
    """What selection scores must have in common."""
    judge: Sequence[str] | str | None = (
        experiment.development if experiment.selection == "development" else tuple(sorted(set(experiment.sources)))
    )
    return experiment.selection, judge, experiment.label_space, experiment.scored_classes, experiment.evaluation_size
