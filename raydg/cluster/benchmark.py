"""Runs a study as a benchmark: all trainings that are missing in parallel, then selection by every rule from the same
trainings, then scores, then a table for each rule. Everything that is done is on disk, so the same command goes on
after any kill."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from rich.console import Console

from raydg import benchmark, report
from raydg.adaptation import TrainBN
from raydg.benchmark import HeldOut, Options, Rule, Trial, Winner, choose, label
from raydg.checkpoint import RunFolder, write_whole
from raydg.cluster.evaluate import evaluate, evaluate_ensemble, score_targets
from raydg.cluster.graph import Failed, Part, run_parts
from raydg.cluster.train import train
from raydg.evaluation import Row
from raydg.experiment import Experiment, Study
from raydg.judging import read
from raydg.judging.show import SUFFIXES, show
from raydg.locking import held
from raydg.resources import Resources
from raydg.selection import Selected
from raydg.tracking import Tracker
from raydg.values import encode


@dataclass(frozen=True)
class Judged:
    """What became of a trial under a rule."""

    winner: Winner
    rows: tuple[Row, ...]
    """Of the chosen checkpoint: on the sources' validation splits, the targets and in-domain; under the experiment's
    own rule also those that its choices came to."""
    left_out: tuple[int, ...]
    """Settings that could not be chosen, for a training of theirs is missing."""


@dataclass(frozen=True)
class Together:
    """What became of an ensemble of seeds."""

    joint: Experiment
    """As tables call it, with the lowest seed."""
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    """On the targets and in-domain."""


def run_benchmark(
    study: Study, resources: Resources, console: Console, options: Options, shown: report.Options
) -> None:
    """Train, select, score and print, whatever of it is not done yet.

    Raises:
        ValueError: what cannot be run at all; or, after everything else is done and shown, the parts that failed.
    """
    resources = resources.resolved()
    plan = benchmark.Plan.of(study, options)
    trials = plan.trials
    work = _Work(study, resources, console, plan.rules, bool(options.rules))
    work.announce(trials)
    if options.dry_run:
        for name in work.parts(trials):
            console.print(f"- {name}", markup=False, highlight=False, soft_wrap=True)
        return
    output = Path(resources.runs) / study.name
    output.mkdir(parents=True, exist_ok=True)
    write_whole(output / "study.json", json.dumps(encode(study), indent=1))
    with work:
        work.run(trials, options.concurrent)
        for number in range(options.extra_seeds):
            scores = work.headlines(trials)
            new = benchmark.trials(benchmark.more_seeds(scores), plan.space, options.random_settings)
            if not new:
                break
            several = ", ".join(trial.label for trial in new)
            console.print(f"extra seeds, round {number + 1}: {several}", markup=False, highlight=False)
            trials = (*trials, *new)
            work.grown |= {trial.experiment.name for trial in new}
            work.run(trials, options.concurrent)
        tables = work.tables(trials, shown.baseline)
        if tables:
            show(tables, output / "benchmark", console, shown)
            work.attach(output / f"benchmark{suffix}" for suffix in SUFFIXES.values())
    work.complain()


class _Work:
    """One benchmark on its way: what has ended, and what failed.

    Args:
        study: what is run.
        resources: resolved.
        console: where progress is printed.
        rules: that choose.
        named: whether the rules were asked for; else each experiment has its own.
    """

    def __init__(
        self, study: Study, resources: Resources, console: Console, rules: Sequence[Rule], named: bool
    ) -> None:
        self.study, self.resources, self.console = study, resources, console
        self.rules, self.named = rules, named
        self.judged: dict[tuple[Experiment, Rule], Judged] = {}
        self.together: dict[str, Together] = {}
        self.ended: set[str] = set()
        self.failed: dict[str, Failed] = {}
        self.grown: set[str] = set()  # experiments that were given further seeds
        # One thread sends everything, so that a slow server delays no training and a file has one writer.
        self.sender = ThreadPoolExecutor(max_workers=1)
        self.tracker = Tracker(study, resources.tracking_uri or "", resources.runs)

    def __enter__(self) -> "_Work":
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self.sender.submit(self.tracker.finish, "FAILED" if self.failed else "FINISHED")
        self.sender.shutdown(cancel_futures=error[0] is not None)

    def announce(self, trials: Sequence[Trial]) -> None:
        """Say how much there is to do."""
        own = {self.folder(setting).path: setting for trial in trials for setting in trial.settings}
        further = {self.folder(run).path: run for run in self.held_out(trials).runs}
        done = [path for path, experiment in (own | further).items() if is_trained(experiment, self.resources)]
        more = f" and {len(further)} with a further domain held out" if further else ""
        steps = sum(experiment.steps for experiment in (own | further).values())
        self.console.print(
            f"{self.study.name}: {len(trials)} experiments and seeds, {len(own)} trainings{more}, {steps:,} steps; "
            f"{len(done)} trainings are done. Rules: {', '.join(self.rules)}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        for note in self._left_out(trials):
            self.console.print(note, markup=False, highlight=False, soft_wrap=True)

    def _left_out(self, trials: Sequence[Trial]) -> Iterator[str]:
        """What a reader of the study might expect of it in vain."""
        if names := dict.fromkeys(trial.experiment.name for trial in trials if not trial.judged):
            yield f"trained and not scored, for there is no target: {', '.join(names)}"
        asks = [trial for trial in trials if trial.judged and (trial.experiment.choices or self.study.ensembles)]
        if names := dict.fromkeys(trial.experiment.name for trial in asks if not self.by_own_rule(trial)):
            yield f"no choices and ensembles of {', '.join(names)}, whose own rule is not among --rules"
        if self.study.ensembles and any(len(trial.settings) > 1 for trial in trials):
            yield "no ensembles among drawn settings, which every seed has of its own"

    def folder(self, experiment: Experiment) -> RunFolder:
        return RunFolder.of(experiment, self.resources.runs)

    def rules_of(self, trial: Trial) -> tuple[Rule, ...]:
        if not trial.judged:
            return ()
        return tuple(self.rules) if self.named else (trial.experiment.selection,)

    def by_own_rule(self, trial: Trial) -> bool:
        """Whether the experiment's own rule judges it: that one settles its choices, and selects what predicts
        together."""
        return trial.experiment.selection in self.rules_of(trial)

    def held_out(self, trials: Sequence[Trial]) -> HeldOut:
        """The trainings that leave-one-out adds."""
        if "leave-one-out" not in self.rules:
            return HeldOut((), {})
        return HeldOut.of(setting for trial in trials if trial.judged for setting in trial.settings)

    def parts(self, trials: Sequence[Trial]) -> dict[str, Part]:
        """Every part by name: judgements first, for those that can be run should not wait for further trainings."""
        train_of: dict[Path, Part] = {}
        for trial in trials:
            for number, setting in enumerate(trial.settings):
                path = self.folder(setting).path
                which = f", setting {number}" if number else ""
                name = f"training {label(setting)}{which}"
                run = partial(_train, setting, self.resources)
                train_of.setdefault(path, Part(name, run, writes=frozenset({str(path)})))
        held_out = self.held_out(trials)
        held_out_parts: list[Part] = []
        for number, run in enumerate(held_out.runs, start=1):
            sources = ", ".join(run.sources)
            name = f"training {run.name} on {sources}, scored on {', '.join(run.targets)}, seed {run.seed} (#{number})"
            call = partial(_train_and_score, run, self.resources)
            held_out_parts.append(Part(name, call, writes=frozenset({str(self.folder(run).path)})))
        judgements = []
        for trial in trials:
            paths = [self.folder(setting).path for setting in trial.settings]
            own = frozenset(train_of[path].name for path in paths)
            for rule in self.rules_of(trial):
                after, judges = own, {}
                if rule == "leave-one-out":
                    judges = {n: held_out.of_experiment(setting) for n, setting in enumerate(trial.settings)}
                    places = {path.path: n for n, path in enumerate(map(self.folder, held_out.runs))}
                    asked = {self.folder(run).path for of in judges.values() for run in of.values()}
                    after = own | {held_out_parts[places[path]].name for path in asked}
                single = after if len(trial.settings) == 1 else frozenset()
                judgements.append(
                    Part(
                        name=f"{trial.label}: {rule}",
                        run=partial(_judge, trial, rule, judges, self.resources),
                        after=after,
                        needs=single,
                        writes=frozenset(map(str, paths)),
                    )
                )
        ensembles = self.ensembles(trials)
        return {part.name: part for part in (*judgements, *ensembles, *train_of.values(), *held_out_parts)}

    def ensembles(self, trials: Sequence[Trial]) -> list[Part]:
        """A part for every group of seeds that predict together, once each of them has been judged by itself."""
        alone = {t.experiment: t for t in trials if self.by_own_rule(t) and len(t.settings) == 1}
        parts = []
        for ensemble in self.study.ensembles:
            for members in ensemble.groups(list(alone)):
                joint = replace(members[0], name=ensemble.called(members[0]))
                seeds = tuple(member.seed for member in members)
                unseen = ", ".join(joint.targets)
                of = [t for t in alone.values() if ensemble.asks(t.experiment) in members]
                parts.append(
                    Part(
                        name=f"{joint.name} → {unseen}, seeds {' '.join(map(str, seeds))}",
                        run=partial(_judge_together, joint, members, self.resources),
                        needs=frozenset(f"{trial.label}: {trial.experiment.selection}" for trial in of),
                        # What a choice is made by may still be missing in the members' own folders.
                        writes=frozenset(str(self.folder(member).path) for member in members),
                    )
                )
        return parts

    def run(self, trials: Sequence[Trial], concurrent: int | None) -> None:
        """Run the parts that have not ended yet."""
        parts = {name: part for name, part in self.parts(trials).items() if name not in self.ended | self.failed.keys()}
        over = self.ended | self.failed.keys()
        left = [
            Part(part.name, part.run, part.after - over, part.needs - self.ended, part.writes)
            for part in parts.values()
            if not part.needs & self.failed.keys()
        ]
        by_name: dict[str, tuple[Trial, Rule]] = {}
        for trial in trials:
            by_name |= {f"{trial.label}: {rule}": (trial, rule) for rule in self.rules_of(trial)}
        started, total = time.monotonic(), len(left)
        done = 0

        def ended(part: Part, result: object) -> None:
            nonlocal done
            done += 1
            self.ended.add(part.name)
            note = ""
            if isinstance(result, Judged):
                trial, rule = by_name[part.name]
                self.judged[trial.experiment, rule] = result
                note = f": step {result.winner.selected.step}"
                note += f" of setting {result.winner.setting}" if len(trial.settings) > 1 else ""
                note += f"; settings {', '.join(map(str, result.left_out))} not trained" if result.left_out else ""
                if rule == trial.experiment.selection:
                    self.sender.submit(self._send_scores, trial.settings[result.winner.setting], result.rows)
            elif isinstance(result, Together):
                self.together[part.name] = result
                self.sender.submit(self.tracker.log_ensemble, result.joint, result.seeds, result.rows)
            elif isinstance(result, Experiment):
                self.sender.submit(self._send_training, result)
            seconds = time.monotonic() - started
            self.console.print(
                f"[{done}/{total}, {seconds:.0f} s] {part.name}{note}", markup=False, highlight=False, soft_wrap=True
            )

        self.failed |= run_parts(left, self.resources, ended, concurrent)

    def _send_training(self, experiment: Experiment) -> None:
        with self.tracker.following(experiment, self.folder(experiment)):
            pass  # whatever is in the folder is sent when the block ends

    def _send_scores(self, experiment: Experiment, rows: Sequence[Row]) -> None:
        judged = [row for row in rows if row.role in ("target", "in-domain")]
        self.tracker.log_targets(experiment, self.folder(experiment), judged)

    def attach(self, files: Iterable[Path]) -> None:
        """Send files to the study's run."""
        for file in files:
            self.sender.submit(self.tracker.log_file, None, file)

    def headlines(self, trials: Sequence[Trial]) -> dict[Experiment, float]:
        """The score of every trial that was judged, by the first rule."""
        found = {}
        for trial in trials:
            judged = self.judged.get((trial.experiment, self.rules_of(trial)[0]))
            if judged:
                found[trial.experiment] = benchmark.headline(trial.experiment, judged.rows)
        return found

    def tables(self, trials: Sequence[Trial], baseline: str | None) -> list[report.Table]:
        """A table, or several, for each rule; what was not judged has empty cells."""
        made: list[report.Table] = []
        most = max(len(trial.settings) for trial in trials)
        among = f", among {most} settings" if most > 1 else ""
        for rule in self.rules if self.named else (None,):
            scored, chosen = [], {}
            for trial in trials:
                if trial.judged:
                    judged = self.judged.get((trial.experiment, rule or trial.experiment.selection))
                    scored.append((trial.experiment, judged.rows if judged else ()))
                    if judged:
                        chosen[trial.experiment] = trial.settings[judged.winner.setting]
            if not chosen:
                continue
            own = [setting for setting in chosen.values() if rule in (None, setting.selection)]
            scored += [(t.joint, t.rows) for t in self.together.values() if rule in (None, t.joint.selection)]
            # Seeds with settings of their own make no study.
            of = replace(self.study, experiments=tuple(own)) if own and most == 1 else None
            said = read.remarks(of, self.resources) if of else read.remarks_on_choices(own, self.resources)
            said |= {n: (*said.get(n, ()), f"{n}: {benchmark.GROWN}") for n in sorted(self.grown)}
            folders = {experiment: self.folder(setting) for experiment, setting in chosen.items()}
            against = read.baseline(baseline, self.resources, folders.__getitem__, of)
            title = f"{self.study.name}, {rule}" if rule else self.study.name
            text = f"{benchmark.RULES[rule]}{among}" if rule else None
            made += report.tables(title, scored, text, said, against)
        return made

    def complain(self) -> None:
        """Say what failed.

        Raises:
            ValueError: something did.
        """
        for name, failed in self.failed.items():
            if failed.defect:
                self.console.print(f"{name}\n{failed.defect}", markup=False, highlight=False, soft_wrap=True)
        if self.failed:
            lines = "\n".join(f"- {name}: {failed.message}" for name, failed in self.failed.items())
            raise ValueError(
                f"{len(self.failed)} parts of {self.study.name!r} did not end well; the others are done. The same "
                f"command tries these again:\n{lines}"
            )


def is_trained(experiment: Experiment, resources: Resources) -> bool:
    """Whether a training has come to its end."""
    return RunFolder.of(experiment, resources.runs).is_complete(experiment)


def _train(experiment: Experiment, resources: Resources) -> Experiment:
    """Train to the end, or wait until another study, or what is left of a task that died, has done it; what is returned
    says whose record can be sent."""
    with held(RunFolder.of(experiment, resources.runs).lock, wait=True):
        train(experiment, resources)
    return experiment


def _train_and_score(experiment: Experiment, resources: Resources) -> Experiment:
    """Train to the end, and score every checkpoint on the domains that were held out."""
    _train(experiment, resources)
    every_checkpoint(experiment, resources, "leave-one-out")
    return experiment


def every_checkpoint(
    experiment: Experiment, resources: Resources, rule: Literal["oracle", "leave-one-out"]
) -> list[Row]:
    """Target rows of all checkpoints of the last stage, by the method's own inference without adaptation.

    Raises:
        ValueError: some were pruned.
    """
    folder = RunFolder.of(experiment, resources.runs)
    plain = replace(experiment, inferences=None, adaptations=(TrainBN(),), in_domain_splits=None)
    rows = []
    for checkpoint in folder.every_result(experiment):
        rows += score_targets(plain, folder, Selected(step=checkpoint.step, rule=rule, score=None), resources)
    return rows


def _judge(trial: Trial, rule: Rule, judges: Mapping[int, Mapping[str, Experiment]], resources: Resources) -> Judged:
    """Choose a setting and a checkpoint, and score it in all the trial's ways.

    Args:
        trial: whose settings are trained, or not.
        rule: that chooses.
        judges: for leave-one-out, by setting and source, the training that is scored on that source.
        resources: resolved.
    """
    rows: dict[int, list[Row]] = {}
    for number, setting in enumerate(trial.settings):
        if not all(is_trained(run, resources) for run in (setting, *judges.get(number, {}).values())):
            continue
        folder = RunFolder.of(setting, resources.runs)
        if rule == "oracle":
            rows[number] = every_checkpoint(setting, resources, rule)
        elif rule == "leave-one-out":
            rows[number] = [
                row
                for source, run in judges[number].items()
                for row in every_checkpoint(run, resources, rule)
                if row.domain == source
            ]
        else:
            rows[number] = folder.validation_rows(setting)
    winner = choose(rule, trial.experiment, rows)
    chosen, step = trial.settings[winner.setting], winner.selected.step
    folder = RunFolder.of(chosen, resources.runs)
    on_sources = [r for r in folder.validation_rows(chosen) if r.step == step and r.role == "source-validation"]
    if rule == chosen.selection:
        judged = evaluate(chosen, folder, resources)  # which selects the same, and settles the choices with it
    else:
        judged = score_targets(chosen, folder, winner.selected, resources)
    left_out = tuple(number for number in range(len(trial.settings)) if number not in rows)
    return Judged(winner, (*on_sources, *judged), left_out)


def _judge_together(joint: Experiment, members: Sequence[Experiment], resources: Resources) -> Together:
    """Score seeds that predict together, each by what its own rule selects and its choices come to."""
    seeds = tuple(member.seed for member in members)
    return Together(joint, seeds, tuple(evaluate_ensemble(members, resources)))
