"""Milliseconds an image by input size, adaptation and precision, and as multiples of plain inference: self-adaptation's
Table 7.

    python tests/benchmarks/latency.py                                                     # small, for a CPU
    python tests/benchmarks/latency.py --device cuda --network resnet50 --sizes 1024x2048 720x1280 1080x1920
    python tests/benchmarks/latency.py --precisions float32 --adaptations t-BN IaBN --repeats 9

The networks are DeepLabV1 (the paper's) on a ResNet, or on SmallNet, with random weights: time does not depend on them,
but that Seg-TTT learns in every step it takes, which `confidence` above 0 and thresholds by class see to. bf16 is
autocast, and Seg-TTT's own mode. Inputs are channels-last, as in evaluation. Each cell runs once to warm up, then all
cells in turn, `--repeats` times; the median counts. A Seg-TTT run has `--iterations` steps.

The paper's milliseconds on an RTX 2080 (means of its three sizes, in order of the second command): ResNet-50 221,
with TTA 929 (4.2 times), with Seg-TTT 5637 (25.5 times); ResNet-101 316, 1048 (3.3), 6481 (20.5). Its first size in
mixed precision: Seg-TTT 5746 instead of 7862, and 2914 with 3 steps.
"""

import argparse
import statistics
import time
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raydg.adaptation import TTA, Adaptation, IaBN, Predictor, SegTTT, TrainBN
from raydg.domains.labels import CITYSCAPES_19
from raydg.models import DeepLabV1, ResNet, SmallNet

NETWORKS = {"small": SmallNet(), "resnet18": ResNet(18), "resnet50": ResNet(50), "resnet101": ResNet(101)}
PRECISIONS = ("float32", "bf16")


def adaptations(iterations: int, bf16: bool) -> dict[str, Adaptation]:
    """The rows, by their names."""
    return {
        "t-BN": TrainBN(),
        "IaBN": IaBN(),
        "TTA": TTA(IaBN()),
        "Seg-TTT": SegTTT(iterations=iterations, bf16=bf16),
    }


def size(text: str) -> tuple[int, int]:
    """`HEIGHTxWIDTH`."""
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"{text!r} is no size: give HEIGHTxWIDTH in pixels, such as 720x1280")
    return int(height), int(width)


def built(name: str, device: torch.device) -> nn.Module:
    """A network whose running statistics are those of what it sees, so that nothing explodes."""
    network = DeepLabV1(NETWORKS[name]).build(CITYSCAPES_19).to(device)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
    with torch.no_grad():
        network.train()(torch.rand(1, 3, 128, 256, device=device))
    return network.eval()


def milliseconds(predictor: Predictor, image: Tensor, autocast: bool) -> float:
    """Of one prediction."""
    if image.is_cuda:
        torch.cuda.synchronize()
    began = time.perf_counter()
    with torch.autocast(image.device.type, torch.bfloat16, enabled=autocast):
        predictor(image)
    if image.is_cuda:
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = list(adaptations(1, False))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--network", default="small", choices=NETWORKS)
    parser.add_argument("--sizes", type=size, nargs="+", default=[(128, 256), (90, 160), (135, 240)])
    parser.add_argument("--adaptations", nargs="+", default=names, choices=names)
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()

    device = torch.device(given.device)
    torch.manual_seed(0)
    network = built(given.network, device)
    # Smooth, since noise has no objects.
    images = {
        (height, width): F.interpolate(torch.rand(1, 3, 8, 16), (height, width), mode="bicubic")
        .clamp(0, 1)
        .to(device)
        .contiguous(memory_format=torch.channels_last)
        for height, width in given.sizes
    }
    predictors = {
        (precision, name): adaptations(given.iterations, precision == "bf16")[name].predictor(network)
        for precision, name in product(given.precisions, given.adaptations)
    }
    # Seg-TTT has a precision of its own, and leaves alone what must not be rough.
    autocast = {key: key[0] == "bf16" and key[1] != "Seg-TTT" for key in predictors}
    took: dict[tuple[str, str, tuple[int, int]], list[float]] = {}
    for repeat in range(given.repeats + 1):
        for (key, predictor), (shape, image) in product(predictors.items(), images.items()):
            elapsed = milliseconds(predictor, image, autocast[key])
            if repeat:
                took.setdefault((*key, shape), []).append(elapsed)
    medians = {cell: statistics.median(times) for cell, times in took.items()}

    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(
        f"{where}, torch {torch.__version__}, DeepLabV1 on {given.network}, {given.iterations} iterations, ms an image"
    )
    print("times: as a multiple of the first row, at the same size and over the mean of all sizes")
    columns = [f"{height}x{width}" for height, width in images]
    print(f"{'':20}" + "".join(f"{column:>12}{'times':>7}" for column in (*columns, "mean")))
    base: list[float] = []
    for precision, name in predictors:
        row = [medians[precision, name, shape] for shape in images]
        row.append(statistics.mean(row))
        base = base or row
        cells = "".join(f"{ms:12.1f}{ms / plain:7.2f}" for ms, plain in zip(row, base, strict=True))
        print(f"{name + ', ' + precision:20}{cells}")


if __name__ == "__main__":
    main()
