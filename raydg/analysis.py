"""Loss and score of every checkpoint on sources and unseen targets, for curves over training.

It looks at targets all along the training, so what it finds may not choose anything: its rows have the role "analysis",
which every selection refuses, and lie in a file that no selection reads.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from raydg.adaptation import Predictor, TrainBN
from raydg.assembly import VALIDATION
from raydg.checkpoint import RunFolder, read_rows, write_rows
from raydg.evaluation import Confusion, Row
from raydg.experiment import Experiment
from raydg.protocol import Protocol
from raydg.scoring import ScoringBatch, at_size, scoring_batches, shown
from raydg.shards import PreparedDomain
from raydg.types import ignore_label


def analyse(
    experiment: Experiment,
    folder: RunFolder,
    data: str,
    splits: Mapping[str, tuple[str, ...]],
    device: str | torch.device = "cpu",
    watch: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Rows of every checkpoint on every source's validation split and on targets, as training validates: the method's
    own inference, no adaptation, `Experiment.validation_protocol`.

    What has been analysed before is read, not run, unless the domain was prepared again with other images since.

    Args:
        experiment: what was trained.
        folder: its run's; rows go to `RunFolder.analysis`.
        data: folder of the prepared domains.
        splits: of every target to be looked at, by its name.
        device: where networks run.
        watch: told of each new row.

    Raises:
        ValueError: there is no checkpoint, some were pruned though the experiment keeps all, or a domain is not
            prepared.
    """
    if experiment.keep_checkpoints is None:
        folder.every_result(experiment)
    if not folder.checkpoints():
        raise ValueError(f"{folder.path} has no checkpoint to analyse: run `train` first.")
    done = read_rows(folder.analysis)
    wanted = list(_wanted(experiment, data, splits))
    rows = []
    for checkpoint in folder.checkpoints():
        model, predictor = None, None
        inference, adaptation = checkpoint.method.validation_inference(), TrainBN()
        for domain, parts in wanted:
            if not inference.predicts(experiment.source_names, domain.name):
                continue
            empty = Row(
                step=checkpoint.step,
                role="analysis",
                domain=domain.name,
                split="+".join(parts),
                inference=inference.label,
                adaptation=adaptation.label,
                order=0,
                num_images=sum(domain.num_samples(part) for part in parts),
                counts=Confusion.empty(experiment.label_space.num_classes).to_json(),
                content=domain.manifest.index_sha256,
            )
            there = [row for row in done if replace(row, counts=empty.counts, loss=None) == empty]
            if not there:
                model = model or checkpoint.model()
                if predictor is None or inference.knows_domain:
                    module = inference.module(model, experiment.source_names, domain.name).to(device).eval()
                    predictor = adaptation.predictor(module)
                counted, loss = measure(
                    predictor, domain, scoring_batches(domain, parts, adaptation, experiment.validation_protocol, 0, 0),
                    experiment.validation_protocol,
                )  # fmt: skip
                there = [replace(empty, counts=counted.to_json(), loss=loss)]
                # Instead of one of the domain as it was before.
                done = [row for row in done if _place(row) != _place(empty)] + there
                write_rows(folder.analysis, done)
                watch(there[0])
            rows += there
    return rows


def _place(row: Row) -> tuple[object, ...]:
    """What a row was asked for, of whatever images."""
    return row.step, row.domain, row.split, row.inference, row.adaptation, row.protocol


def _wanted(
    experiment: Experiment, data: str, splits: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[PreparedDomain, tuple[str, ...]]]:
    for name in dict.fromkeys(experiment.sources):
        domain = PreparedDomain.open(data, experiment.label_space, name)
        if VALIDATION in domain.splits:
            yield domain, (VALIDATION,)
    for name in experiment.targets:
        if name in splits:
            yield PreparedDomain.open(data, experiment.label_space, name), splits[name]


def measure(
    predictor: Predictor, domain: PreparedDomain, planned: list[ScoringBatch], protocol: Protocol
) -> tuple[Confusion, float | None]:
    """Counts, and the mean over all labelled pixels (or images) of -log p of the true class; None if nothing counts.

    A probability that underflows counts as the smallest number that its type holds, so that the mean stays finite.
    """
    weight = next(predictor.network.parameters())
    num_classes = domain.label_space.num_classes
    total, loss, counted = Confusion.empty(num_classes), 0.0, 0
    for batch in planned:
        samples = [domain.read(batch.split, position) for position in batch.positions]
        images = shown([sample.image for sample in samples], protocol, weight.device, weight.dtype)
        for sample, one in zip(samples, protocol.predict(predictor, images)[-1], strict=True):
            if isinstance(sample.label, int):
                label, probabilities = torch.tensor([sample.label], device=one.device), one[:, None]
            else:
                label = torch.from_numpy(protocol.truth(sample.label)).to(one.device)
                probabilities = at_size(one[None], (label.shape[0], label.shape[1]))[0]
            total = total + Confusion.of(label, probabilities.argmax(0), num_classes)
            terms = _log_losses(probabilities, label, num_classes)
            loss, counted = loss + float(terms.sum()), counted + len(terms)
    return total, loss / counted if counted else None


def _log_losses(probabilities: Tensor, label: Tensor, num_classes: int) -> Tensor:
    """-log p of the true class wherever a label counts, float64: from (k, ...) and (...)."""
    counts = label != ignore_label(num_classes)
    true = probabilities.gather(0, label.long().clamp(max=num_classes - 1)[None])[0][counts]
    return -true.double().clamp(min=torch.finfo(probabilities.dtype).tiny).log()
