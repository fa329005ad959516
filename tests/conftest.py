"""A small prepared street world that every test may read, and an experiment on it that takes a second."""

import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import boto3
import pytest
import torch
from moto.server import ThreadedMotoServer
from rich.console import Console

from raydg import loop
from raydg.adaptation import IaBN, TargetNorm, TrainBN
from raydg.augmentation import Augmentation, HorizontalFlip, RandomScaleCrop
from raydg.checkpoint import RunFolder
from raydg.domains import catalogue, street_world
from raydg.domains.labels import CITYSCAPES_19
from raydg.experiment import Experiment, Stage, Study
from raydg.methods import ERM
from raydg.models import DeepLabV3Plus, SmallNet
from raydg.optimization import SGD
from raydg.plan import Sampling
from raydg.resources import Resources
from raydg.shards import prepare_domains

SOURCES, DEVELOPMENT, TARGET = ("street/noon", "street/dusk", "street/rain"), "street/fog", "street/night"


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of five prepared domains with 4 training and 2 validation images of 64 x 128 pixels each."""
    raw, out = tmp_path_factory.mktemp("raw") / "street", tmp_path_factory.mktemp("data")
    domains = (*SOURCES, DEVELOPMENT, TARGET)
    names = [domain.removeprefix("street/") for domain in domains]
    street_world.write(raw, domains=names, train=4, val=2, height=64, width=128)
    prepare_domains(catalogue.dataset("street"), domains, raw, out, CITYSCAPES_19)
    return str(out)


@pytest.fixture(scope="session")
def experiment() -> Experiment:
    """A training of six steps with three checkpoints, exact in its sums so that it can be compared bit for bit."""
    return Experiment(
        name="tiny",
        label_space=CITYSCAPES_19,
        sources=SOURCES,
        targets=(TARGET,),
        model=DeepLabV3Plus(SmallNet(8), aspp_channels=8, low_level_channels=8, decoder_channels=8),
        stages=(Stage(method=ERM(), optimizer=SGD(0.05), steps=6),),
        sampling=Sampling(images_per_domain=2, episodes_per_step=2),
        augmentation=Augmentation((RandomScaleCrop(32, 32), HorizontalFlip())),
        adaptations=(TrainBN(), TargetNorm(batch_size=2, orders=2), IaBN(instance_weight=0.3)),
        validate_every=2,
        reduction="exact",
    )


HOLD = """
import sys
from pathlib import Path
from raydg.locking import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    input()
"""


@pytest.fixture
def another_process() -> Callable[[Path], AbstractContextManager[subprocess.Popen[str]]]:
    """Starts a process that holds a file (`raydg.locking`) until it is killed by SIGKILL, at the latest at the end of
    the block."""

    @contextmanager
    def holding(path: Path) -> Iterator[subprocess.Popen[str]]:
        program = [sys.executable, "-c", HOLD, str(path)]
        with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and process.stdout.readline() == "held\n"
            try:
                yield process
            finally:
                process.kill()

    return holding


@pytest.fixture
def runs(tmp_path: Path) -> str:
    return str(tmp_path / "runs")


@pytest.fixture(scope="session")
def object_store() -> Iterator[str]:
    """Address of a server on this machine that speaks S3."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "anyone")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "anything")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        server.start()
        yield "{}:{}".format(*server.get_host_and_port())
        server.stop()


@pytest.fixture
def s3(object_store: str) -> str:
    """URI of an empty bucket of the test's own."""
    bucket = f"raydg-{uuid4().hex}"
    client = boto3.client("s3", endpoint_url=f"http://{object_store}", region_name="us-east-1")
    client.create_bucket(Bucket=bucket)
    return f"s3://{bucket}?endpoint_override={object_store}&scheme=http&region=us-east-1"


@pytest.fixture(scope="session")
def evaluated(prepared: str, experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a study of two trainings, one with a name that HTML must not see, trained and evaluated."""
    # Only here: tests that need no study shall not wait for Ray to be imported.
    from raydg.cluster.evaluate import evaluate
    from raydg.judging.show import show_table

    resources = Resources(workers=0, data=prepared, runs=str(tmp_path_factory.mktemp("evaluated")))
    slow = replace(experiment, name="slow", stages=(replace(experiment.stages[0], optimizer=SGD(0.01)),))
    study = Study(name="two", experiments=(replace(experiment, name='<i>&"tiny"'), slow))
    for each in study.experiments:
        folder = RunFolder.of(each, resources.runs).open(each)
        loop.train(each, folder, loop.in_process_feed(prepared), prepared, torch.device("cpu"))
        evaluate(each, folder, resources)
    show_table(study, resources, Console(file=io.StringIO()))
    return Path(resources.runs) / study.name
