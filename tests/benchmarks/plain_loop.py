"""raydg beside a plain PyTorch loop with a DataLoader: images per second of ERM on the same network, images,
augmentation, batch and optimiser.

    python tests/benchmarks/plain_loop.py                 in this process, DataLoader(num_workers=0)
    python tests/benchmarks/plain_loop.py --workers 1     one Ray Train worker, DataLoader(num_workers=1)

Both train SqueezeNet 1.1 from scratch on three styles of the object world, drawn at PACS' size, on one thread: the
plain loop as torchvision's examples are written, with ImageFolder and its transforms on tensors. They run in turn,
`--rounds` times; the median step of each run counts, its first steps do not.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.data import ConcatDataset, DataLoader
from torchvision.datasets import ImageFolder
from torchvision.models import squeezenet1_1
from torchvision.transforms import v2

from raydg.augmentation import Augmentation, ColorJitter, Grayscale, HorizontalFlip, RandomResizedCrop
from raydg.checkpoint import read_metrics
from raydg.cluster.train import train
from raydg.domains import object_world
from raydg.domains.catalogue import dataset
from raydg.domains.labels import PACS_7
from raydg.experiment import Experiment, Stage
from raydg.methods import ERM
from raydg.models import Classifier, SqueezeNet
from raydg.models.network import IMAGENET_MEAN, IMAGENET_STD
from raydg.optimization import SGD, Constant
from raydg.plan import Sampling
from raydg.resources import Resources
from raydg.shards import prepare_domains

SOURCES = ("photo", "painting", "cartoon")
WARM_UP = 3


def plain(raw: Path, size: int, images: int, steps: int, workers: int) -> float:
    """Median seconds a step of the loop that everybody writes."""
    transform = v2.Compose(
        [
            v2.PILToTensor(),
            v2.RandomResizedCrop(size, scale=(0.8, 1.0)),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
            v2.RandomGrayscale(0.1),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    data = ConcatDataset([ImageFolder(raw / "PACS" / name, transform) for name in SOURCES])
    loader = DataLoader(data, images, shuffle=True, num_workers=workers, drop_last=True, persistent_workers=workers > 0)
    network = squeezenet1_1(num_classes=7).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)
    seconds: list[float] = []
    while len(seconds) < steps:
        began = time.perf_counter()
        for pictures, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(network(pictures.to(memory_format=torch.channels_last)), labels).backward()
            optimizer.step()
            seconds.append(time.perf_counter() - began)
            began = time.perf_counter()
    return statistics.median(seconds[WARM_UP:steps])


def ours(data: Path, runs: Path, size: int, images: int, steps: int, workers: int) -> float:
    """Median seconds a step of raydg, as its record has them."""
    experiment = Experiment(
        name="loop",
        label_space=PACS_7,
        sources=tuple(f"objects/{name}" for name in SOURCES),
        targets=("objects/sketch",),
        model=Classifier(SqueezeNet("1.1", weights=None)),
        stages=(Stage(method=ERM(), optimizer=SGD(1e-3, weight_decay=5e-4), schedule=Constant(), steps=steps),),
        sampling=Sampling(images_per_domain=images // len(SOURCES), episodes_per_step=1),
        augmentation=Augmentation(
            (
                RandomResizedCrop(size, size, area_min=0.8),
                HorizontalFlip(probability=0.5),
                ColorJitter(0.4, 0.4, 0.4, 0.1, probability=0.8),
                Grayscale(probability=0.1),
            )
        ),
    )
    folder = train(experiment, Resources(workers=workers, data=str(data), runs=str(runs)))
    return statistics.median([line["seconds"] for line in read_metrics(folder.metrics)][WARM_UP:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, choices=(0, 1), default=0)
    parser.add_argument("--size", type=int, default=128, help="height and width of what the network sees, in pixels")
    parser.add_argument("--images", type=int, default=48, help="images a step, a multiple of 3")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        raw, data = Path(temporary) / "raw", Path(temporary) / "data"
        object_world.write(raw, size=227, train_per_class=20, val_per_class=1)
        prepare_domains(dataset("objects"), [f"objects/{name}" for name in SOURCES], raw, data, PACS_7)
        sizes = given.size, given.images, given.steps, given.workers
        ratios = []
        for number in range(given.rounds):
            theirs = plain(raw, *sizes)
            own = ours(data, Path(temporary) / f"runs{number}", *sizes)
            ratios.append(theirs / own)
            rates = given.images / theirs, given.images / own
            print(f"plain {rates[0]:.1f} images/s, raydg {rates[1]:.1f} images/s, raydg / plain {ratios[-1]:.2f}")
        where = "in this process" if given.workers == 0 else "one worker"
        print(f"{where}, {given.images} images of {given.size}²: raydg / plain {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
