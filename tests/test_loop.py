"""The loop: interrupted equals uninterrupted, stages hand on, targets stay unseen, faults stop it with the way out."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from raydg import loop
from raydg.assembly import assemble, open_sources
from raydg.checkpoint import RunFolder, read_metrics
from raydg.evaluation import Confusion
from raydg.experiment import Experiment, Stage
from raydg.licence import commercial_use
from raydg.methods import DMG, ERM, MLDG, DeFT, Method, MultiHeaded, Objective, PinTheMemory
from raydg.optimization import SGD, Adam
from raydg.settings import override
from raydg.shards import PreparedDomain
from raydg.types import Episode

CPU = torch.device("cpu")


def train(experiment: Experiment, data: str, runs: str, stop_at: int | None = None) -> RunFolder:
    """Train in this process; with `stop_at`, until that step's first episode is asked for."""
    torch.set_num_threads(1)
    folder = RunFolder.of(experiment, runs).open(experiment)
    whole = loop.in_process_feed(data)

    def feed(experiment: Experiment, start: int) -> Iterator[Episode]:
        for episode in whole(experiment, start):
            if episode.step == stop_at:
                raise KeyboardInterrupt
            yield episode

    try:
        loop.train(experiment, folder, feed, data, CPU)
    except KeyboardInterrupt:
        assert stop_at is not None
    return folder


def weights(folder: RunFolder, step: int) -> dict[str, torch.Tensor]:
    return load_file(folder.checkpoint_at(step).path / "model.safetensors")


def test_checkpoints_carry_the_terms_of_what_they_are_made_of(experiment, prepared, runs):
    folder = train(experiment, prepared, runs)
    for checkpoint in folder.checkpoints():
        (licence,) = checkpoint.licences()
        assert licence.of == "Street world" and commercial_use(checkpoint.licences()) == "yes"


def assert_same_training(one: RunFolder, other: RunFolder) -> None:
    steps = [checkpoint.step for checkpoint in one.checkpoints()]
    assert steps == [checkpoint.step for checkpoint in other.checkpoints()]
    for step in steps:
        a, b = weights(one, step), weights(other, step)
        assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
        assert one.checkpoint_at(step).rows() == other.checkpoint_at(step).rows()
    without_time = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in read_metrics(folder.metrics)]
        for folder in (one, other)
    ]
    assert without_time[0] == without_time[1]


@pytest.mark.parametrize("stop_at", [1, 3, 4])
@pytest.mark.parametrize(
    "stages", ["MLDG with Adam", "two stages", "warm-up and DeFT", "DMG and ERM", "Pin the Memory"]
)
def test_interrupted_equals_uninterrupted(
    experiment: Experiment, prepared: str, tmp_path: Path, stages: str, stop_at: int
) -> None:
    methods: dict[str, tuple[Method, ...]] = {
        "MLDG with Adam": (MLDG(inner_lr=0.01),),
        "two stages": (ERM(trains="decoder"), MLDG()),
        "warm-up and DeFT": (ERM(trains="decoder"), DeFT(ema_rate=0.9)),
        "DMG and ERM": (DMG(sites=("before_block2",)), ERM()),
        "Pin the Memory": (PinTheMemory(auxiliary_weight=0.0),),
    }
    optimizer = Adam(1e-3) if stages == "MLDG with Adam" else SGD(0.05, extras_lr_factor=2.0)
    steps = 6 // len(methods[stages])
    experiment = replace(
        experiment, stages=tuple(Stage(method=m, optimizer=optimizer, steps=steps) for m in methods[stages])
    )
    whole = train(experiment, prepared, str(tmp_path / "whole"))
    train(experiment, prepared, str(tmp_path / "broken"), stop_at=stop_at)
    assert_same_training(whole, train(experiment, prepared, str(tmp_path / "broken")))


def test_what_began_on_a_gpu_goes_on_without_one(
    experiment: Experiment, prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(experiment, prepared, str(tmp_path / "whole"))
    with monkeypatch.context() as on_gpu:  # every tensor says that it comes from there
        on_gpu.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        broken = train(experiment, prepared, str(tmp_path / "broken"), stop_at=3)
    state = broken.checkpoint_at(2).training_state()["state"]
    assert {each["momentum_buffer"].device for each in state.values()} == {CPU}
    assert_same_training(whole, train(experiment, prepared, str(tmp_path / "broken")))


def test_a_stage_that_trains_the_decoder_leaves_the_encoder_as_it_was(
    experiment: Experiment, prepared: str, runs: str
) -> None:
    experiment = replace(experiment, stages=(Stage(method=ERM(trains="decoder"), optimizer=SGD(0.05), steps=2),))
    start = loop.build_network(experiment).state_dict()
    end = weights(train(experiment, prepared, runs), 2)
    changed = {name for name, tensor in end.items() if not torch.equal(tensor, start[name])}
    assert changed and all(name.startswith("decoder.") for name in changed)


def test_training_opens_sources_and_development_only(
    experiment: Experiment, prepared: str, runs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, real = [], PreparedDomain.open.__func__

    def record(cls: type[PreparedDomain], root: str, label_space: object, domain: str) -> PreparedDomain:
        opened.append(domain)
        return real(cls, root, label_space, domain)

    monkeypatch.setattr(PreparedDomain, "open", classmethod(record))
    open_sources.cache_clear()
    train(replace(experiment, development="street/fog"), prepared, runs)
    assert set(opened) == {*experiment.sources, "street/fog"}


def test_validation_counts_every_labelled_pixel_of_every_source(
    experiment: Experiment, prepared: str, runs: str
) -> None:
    rows = train(experiment, prepared, runs).checkpoint_at(6).rows()
    assert [row.domain for row in rows] == list(experiment.sources)
    for row in rows:
        domain = PreparedDomain.open(prepared, experiment.label_space, row.domain)
        labels = [domain.read("val", i).label for i in range(domain.num_samples("val"))]
        assert row.confusion.counts.sum() == sum((label != 255).sum() for label in labels)
        assert isinstance(row.confusion, Confusion)


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_last_good_checkpoint(
    experiment: Experiment, prepared: str, runs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ERM.losses

    def poisoned(self: ERM, network: torch.nn.Module, episode: Episode) -> dict[str, torch.Tensor]:
        losses = real(self, network, episode)
        return {"loss": losses["loss"] * torch.nan} if episode.step == 3 else losses

    monkeypatch.setattr(ERM, "losses", poisoned)
    with pytest.raises(loop.Diverged, match=r"diverged at step 3: loss nan.*last good checkpoint is .*step_000002"):
        train(experiment, prepared, runs)
    assert [c.step for c in RunFolder.of(experiment, runs).checkpoints()] == [2]


def test_an_episode_that_the_plan_does_not_give_is_noticed(experiment: Experiment, prepared: str, runs: str) -> None:
    folder = RunFolder.of(experiment, runs).open(experiment)
    whole = loop.in_process_feed(prepared)
    with pytest.raises(AssertionError, match="fed episode 1 of step 0, the plan gives episode 0 of step 0"):
        loop.train(experiment, folder, lambda e, start: (x for x in whole(e, start) if x.index), prepared, CPU)


def test_pruning_keeps_the_best_and_the_last(experiment: Experiment, prepared: str, tmp_path: Path) -> None:
    whole = train(experiment, prepared, str(tmp_path / "all"))
    assert tuple(checkpoint.step for checkpoint in whole.every_result(experiment)) == experiment.result_steps
    scores = {}
    for checkpoint in whole.checkpoints():
        rows = checkpoint.rows()
        scores[checkpoint.step] = sum(row.confusion.score("segmentation") for row in rows) / len(rows)
    pruned = train(replace(experiment, keep_checkpoints=1), prepared, str(tmp_path / "few"))
    assert {c.step for c in pruned.checkpoints()} == {max(scores, key=lambda step: (scores[step], -step)), 6}


def test_another_training_under_the_same_folder_is_refused(experiment: Experiment, prepared: str, runs: str) -> None:
    folder = RunFolder.of(experiment, runs).open(experiment)
    with pytest.raises(ValueError, match="holds another training"):
        folder.open(override(experiment, "SGD.lr", 0.1))


@pytest.mark.parametrize("precision", ["float64", "bf16"])
def test_precisions(experiment: Experiment, prepared: str, runs: str, precision: str) -> None:
    end = weights(train(override(experiment, "precision", precision), prepared, runs), 6)
    assert {t.dtype for t in end.values() if t.is_floating_point()} == {
        torch.float64 if precision == "float64" else torch.float32
    }
    assert all(t.isfinite().all() for t in end.values())


def test_a_truncated_line_of_metrics_is_dropped(experiment: Experiment, prepared: str, runs: str) -> None:
    folder = train(experiment, prepared, runs, stop_at=3)
    with folder.metrics.open("a") as file:
        file.write('{"step": 3, "lo')
    train(experiment, prepared, runs)
    assert [json.loads(line)["step"] for line in folder.metrics.read_text().splitlines()] == list(range(6))


def test_episodes_hold_the_samples_that_the_plan_draws(experiment: Experiment, prepared: str) -> None:
    plan, domains = open_sources(experiment, prepared)
    for step in range(4):
        for episode in range(2):
            arrays = assemble(experiment, prepared, step, episode)
            draws = plan.draws(step, episode)
            assert arrays["positions"].tolist() == [draw.position for draw in draws]
            assert arrays["domains"].tolist() == [draw.source for draw in draws] == [0, 0, 1, 1, 2, 2]
            assert arrays["images"].shape == (6, 3, 32, 32) and arrays["images"].dtype == "uint8"
            again = assemble(experiment, prepared, step, episode)
            assert all((arrays[name] == again[name]).all() for name in arrays)
    assert len({tuple(d.read("train", i).sample_id for i in range(4)) for d in domains}) == 3


def test_what_a_stage_froze_learns_in_the_next_copies_of_it_too(experiment: Experiment) -> None:
    frozen_decoder = Stage(method=ERM(trains="encoder"), optimizer=SGD(0.05), steps=1)
    heads = Stage(method=MultiHeaded(), optimizer=SGD(0.05), steps=1)
    experiment = replace(experiment, stages=(frozen_decoder, heads))
    network = loop.build_network(experiment)
    Objective(experiment.stages[0].method, network)
    model = loop.begin_stage(experiment, 1, network)
    assert all(parameter.requires_grad for parameter in model.parameters())
