"""Real Ray workers: two of them equal one process, and a worker that is killed changes nothing, bit for bit."""

import os
import shutil
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import Tensor, nn

from raydg.assembly import assemble
from raydg.checkpoint import read_metrics
from raydg.cluster.evaluate import evaluate
from raydg.cluster.train import train
from raydg.experiment import Experiment, Stage
from raydg.methods import MLDG
from raydg.optimization import SGD
from raydg.resources import Resources
from raydg.types import Episode

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

KILLED_AT = 12  # two steps after the second checkpoint, three before the third


@dataclass(frozen=True)
class KilledMLDG(MLDG):
    """MLDG that, in a group of workers, kills the process of rank 0 in its step `KILLED_AT`, unless the file `flag` is
    there."""

    flag: str = ""

    def losses(self, network: nn.Module, episode: Episode) -> dict[str, Tensor]:
        flag = Path(self.flag)
        if episode.step == KILLED_AT and dist.is_initialized() and dist.get_rank() == 0 and not flag.exists():
            flag.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().losses(network, episode)


@pytest.fixture(scope="module")
def long_experiment(experiment: Experiment) -> Experiment:
    stage = Stage(method=MLDG(inner_lr=0.01), optimizer=SGD(0.05), steps=24)
    return replace(experiment, name="killed", stages=(stage,), validate_every=5)


def test_two_workers_one_of_them_killed_equal_one_process(
    long_experiment: Experiment, prepared: str, tmp_path: Path
) -> None:
    alone = Resources(workers=0, data=prepared, runs=str(tmp_path / "alone"))
    together = Resources(workers=2, data=prepared, runs=str(tmp_path / "together"))
    flag = tmp_path / "flag"
    killed = replace(long_experiment.stages[0], method=KilledMLDG(inner_lr=0.01, flag=str(flag)))
    experiment = replace(long_experiment, stages=(killed,))
    expected = train(experiment, alone)
    assert not flag.exists()

    folder = train(experiment, together)
    assert int(flag.read_text()) != os.getpid(), "no worker was killed"

    for checkpoint in expected.checkpoints():
        wanted = load_file(checkpoint.path / "model.safetensors")
        got = load_file(folder.checkpoint_at(checkpoint.step).path / "model.safetensors")
        assert all(torch.equal(got[name], wanted[name]) for name in wanted)
        assert folder.checkpoint_at(checkpoint.step).rows() == checkpoint.rows()
    assert [line["step"] for line in read_metrics(folder.metrics)] == list(range(24))
    assert [line["loss"] for line in read_metrics(folder.metrics)] == [
        line["loss"] for line in read_metrics(expected.metrics)
    ]

    rows = evaluate(experiment, folder, together)
    assert rows == evaluate(experiment, expected, alone)
    assert len(rows) == 1 + 2 + 1  # t-BN, two orders of TN, IaBN


def test_more_workers_than_episodes_are_refused(long_experiment: Experiment, prepared: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3 workers for 2 episodes a step"):
        train(long_experiment, Resources(workers=3, data=prepared, runs=str(tmp_path)))


def test_a_missing_domain_is_noticed_before_a_worker_starts(long_experiment: Experiment, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"domain 'street/noon' is not prepared .*raydg prepare street"):
        train(long_experiment, Resources(workers=1, data=str(tmp_path / "nothing"), runs=str(tmp_path / "runs")))


def test_a_damaged_image_that_one_rank_meets_ends_all_with_its_message(
    long_experiment: Experiment, prepared: str, tmp_path: Path
) -> None:
    data = str(shutil.copytree(prepared, tmp_path / "data"))
    (shard,) = (tmp_path / "data" / "cityscapes19" / "street" / "rain").glob("train-*.parquet")
    table = pq.read_table(shard)
    images = table["image"].to_pylist()
    images[0] = images[0][100:]
    pq.write_table(table.set_column(table.column_names.index("image"), table.schema.field("image"), [images]), shard)
    # A step draws each of the four images once, so one rank meets the damage, and the other waits for it.
    episodes = range(long_experiment.sampling.episodes_per_step)
    assert sorted(assembled(long_experiment, data, episode) for episode in episodes) == [False, True]
    with pytest.raises(ValueError, match=rf"street/rain/{shard.name} cannot be used: .*--overwrite"):
        train(long_experiment, Resources(workers=2, data=data, runs=str(tmp_path / "runs")))


def assembled(experiment: Experiment, data: str, episode: int) -> bool:
    """Whether an episode of the first step can be."""
    try:
        assemble(experiment, data, 0, episode)
    except ValueError:
        return False
    return True
