"""What a domain of 100,000 images costs to prepare, to plan and to start training on, beside one of 1,000.

    python tests/benchmarks/large_domain.py [--samples 1000 100000]

Every phase runs in a process of its own, which prints its seconds and its peak memory:

- prepare: tiny images with class ids from a table, in one process (`prepare_domains`);
- plan: the prepared domain opened, its index read, the plan made and the episodes of 100 steps drawn from it;
- train: the first step of an experiment on it, in the same process (importing torch included).
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

DOMAIN = "large"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, nargs="+", default=[1_000, 100_000])
    for samples in parser.parse_args().samples:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), samples)
            for phase in ("nothing", "prepare", "plan", "train"):
                subprocess.run([sys.executable, __file__, "--phase", phase, folder, str(samples)], check=True)


def write(folder: Path, samples: int) -> None:
    """One folder of small pictures and the table that lists them, the last tenth for validation."""
    (folder / "raw").mkdir()
    generator = np.random.default_rng(0)
    pictures = []
    for _ in range(64):
        Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / "one.png")
        pictures.append((folder / "one.png").read_bytes())
    lines = ["image,label,split"]
    for number in range(samples):
        (folder / f"raw/{number:06}.png").write_bytes(pictures[number % len(pictures)])
        lines.append(f"{number:06}.png,{number % 7},{'train' if number < 0.9 * samples else 'val'}")
    (folder / "raw/samples.csv").write_text("\n".join(lines))


def prepare(folder: Path) -> None:
    from raydg.domains.dataset import Dataset, Edition
    from raydg.domains.label_table import LabelTable
    from raydg.domains.labels import PACS_7
    from raydg.domains.layouts import SampleTable
    from raydg.shards import prepare_domains

    tables = (LabelTable(PACS_7, dict(enumerate(PACS_7.classes))),)
    entry = Dataset(
        name=DOMAIN,
        title=DOMAIN,
        domains=(DOMAIN,),
        editions=(Edition(name="drawn", layout=SampleTable(), tables=tables),),
        licence="Drawn.",
        commercial_use="yes",
        source="here",
        citation="",
    )
    prepare_domains(entry, (DOMAIN,), folder / "raw", folder / "data", PACS_7)


def plan(folder: Path) -> None:
    from raydg.domains.labels import PACS_7
    from raydg.plan import Plan, Sampling
    from raydg.shards import PreparedDomain

    domain = PreparedDomain.open(folder / "data", PACS_7, DOMAIN)
    made = Plan(0, Sampling(images_per_domain=32, episodes_per_step=2), [domain.present("train")])
    for step in range(100):
        for episode in range(2):
            made.draws(step, episode)


def train(folder: Path) -> None:
    import torch

    from raydg import loop
    from raydg.augmentation import Augmentation, RandomResizedCrop
    from raydg.checkpoint import RunFolder
    from raydg.domains.labels import PACS_7
    from raydg.experiment import Experiment, Stage
    from raydg.methods import ERM
    from raydg.models import Classifier, SmallNet
    from raydg.optimization import SGD
    from raydg.plan import Sampling

    experiment = Experiment(
        name="large",
        label_space=PACS_7,
        sources=(DOMAIN,),
        model=Classifier(SmallNet(8)),
        stages=(Stage(method=ERM(), optimizer=SGD(lr=0.01), steps=1),),
        sampling=Sampling(images_per_domain=32, episodes_per_step=2),
        augmentation=Augmentation((RandomResizedCrop(32, 32),)),
        evaluation_size=(32, 32),
        selection="last",
    )
    data = str(folder / "data")
    run = RunFolder.of(experiment, folder / "runs").open(experiment)
    episode = next(loop.in_process_feed(data)(experiment, 0))
    assert len(episode.batch) == 32 and run.path.is_dir()
    network = loop.build_network(experiment)
    network(episode.to(torch.device("cpu")).batch.images).sum().backward()


if __name__ == "__main__":
    if "--phase" in sys.argv:
        phase, folder, samples = sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
        start = time.perf_counter()
        {"nothing": lambda _: __import__("raydg.shards"), "prepare": prepare, "plan": plan, "train": train}[phase](
            folder
        )
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        name = "import only" if phase == "nothing" else phase
        print(f"{samples:>8,} samples, {name:>11}: {seconds:6.1f} s, peak {peak:5.0f} MB", flush=True)
    else:
        main()
