"""Seg-TTT against a straightforward implementation of the published procedure, on DeepLabV1 with a ResNet or on a
network that was trained.

    python tests/benchmarks/seg_ttt.py                                       # small, for a CPU
    python tests/benchmarks/seg_ttt.py --height 512 --width 1024 --images 2  # the issue's
    python tests/benchmarks/seg_ttt.py --device cuda --height 1024 --width 2048 --bf16
    python tests/benchmarks/seg_ttt.py --checkpoint runs/ERM-s0-.../checkpoints/step_000300 --data data \
        --domain street/night --images 8 --bf16

Straightforward: for every image the checkpoint is read from disk; six views are forwarded one by one, resized and
stacked on the CPU; every iteration runs the whole network in training mode; BatchNorm blends by plain tensor operations
in evaluation. Raydg: `SegTTT.reference()`, which must give the same labels, and the paper's `SegTTT()`, whose labels
are others. Without `--checkpoint` weights are random but for BatchNorm, which is given the statistics of its inputs, so
that nothing explodes. So many steps on such a network blow up rounding: `--double` shows that what differs in float32
is that alone. Equal labels in bf16 mean something on a trained network only: a random one's logits are near ties. Each
variant runs in the same process, in turn, once to warm up (`--cold` leaves that out) and `--repeats` times; the median
counts.
"""

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raydg.adaptation import Predictor, SegTTT
from raydg.adaptation.learning import network_inside, precise
from raydg.checkpoint import Checkpoint
from raydg.domains.labels import CITYSCAPES_19
from raydg.models import DeepLabV1, Network, ResNet
from raydg.shards import PreparedDomain


class Blended(nn.Module):
    """Training: the plain layer, or its bias for a single value. Evaluation: variances and means of training and of the
    input, blended."""

    def __init__(self, layer: nn.BatchNorm2d, share: float) -> None:
        super().__init__()
        self.layer, self.share = layer, share

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x[0, 0].numel() > 1:
            return self.layer(x)
        running_mean, running_var = self.layer.running_mean, self.layer.running_var
        assert running_mean is not None and running_var is not None
        if self.training:  # torch refuses it, and the published code doubles the image to get by
            running_mean.lerp_(x.detach().mean((0, 2, 3)).to(running_mean), 0.1)
            running_var.mul_(1 - 0.1)
            return x * 0 + self.layer.bias[:, None, None]
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        mean = self.share * mean + (1 - self.share) * running_mean
        var = self.share * var + (1 - self.share) * running_var
        x = (x - mean[:, None, None]) / torch.sqrt(var[:, None, None] + self.layer.eps)
        return x * self.layer.weight[:, None, None] + self.layer.bias[:, None, None]


def blend(module: nn.Module, share: float) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, Blended(child, share))
        else:
            blend(child, share)


class Published:
    """The published procedure, step by step."""

    def __init__(self, network: Network, checkpoint: Path, ttt: SegTTT, bf16: bool) -> None:
        self.network, self.checkpoint, self.bf16 = copy.deepcopy(network).eval(), checkpoint, bf16
        self.iterations, self.rate, self.confidence = ttt.iterations, ttt.learning_rate, ttt.confidence
        blend(self.network, 0.1)
        for module in self.network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # active in the published code; not followed
        groups = [names for _, names in network.encoder.groups]
        self.frozen = tuple(f"encoder.{name}." for names in groups[:-2] for name in names)
        torch.save(self.network.state_dict(), checkpoint)

    def __call__(self, image: Tensor) -> Tensor:
        # Without its cache, which would hold the weights of before the first step.
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.bf16, cache_enabled=False):
            return self.run(image)

    def run(self, image: Tensor) -> Tensor:
        network, size = self.network, image.shape[-2:]
        network.load_state_dict(torch.load(self.checkpoint, map_location=image.device))
        network.eval()
        stack = []
        for scale in (0.25, 0.5, 0.75):
            smaller_size = [round(side * scale) for side in size]
            smaller = F.interpolate(image, smaller_size, mode="bilinear", antialias=True)
            grey = (smaller * image.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, True)
            for view, flipped in ((smaller, False), (grey.expand_as(smaller).flip(-1), True)):
                with torch.no_grad():
                    probabilities = precise(network(view)).softmax(1)
                probabilities = probabilities.flip(-1) if flipped else probabilities
                stack.append(F.interpolate(probabilities, size, mode="bilinear", align_corners=True).cpu())
        mean = torch.cat(stack).mean(0, keepdim=True)
        best, labels = mean.max(1)
        thresholds = self.confidence * mean.flatten(2).max(2).values[0]
        for k in range(len(thresholds)):
            labels[(labels == k) & (best <= thresholds[k])] = 255
        labels = labels.to(image.device)
        network.train()
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(not name.startswith(self.frozen))
        learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(learning, lr=self.rate)
        for _ in range(self.iterations):
            loss = F.cross_entropy(precise(network(image)), labels, ignore_index=255)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            return precise(network(image)).softmax(1)


def trained_like(network: Network, images: Tensor) -> Network:
    """With running statistics of its own inputs, so that activations have the size that training gives them."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
    with torch.no_grad():
        network.train()(images)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.1
    # Predictions of a trained network are confident.
    with torch.no_grad():
        network.get_parameter("decoder.classifier.weight").mul_(10)
    return network.eval()


def random(given: argparse.Namespace, device: torch.device) -> tuple[Network, Tensor]:
    """A random network and smooth images, since noise has no objects."""
    rough = torch.rand(given.images, 3, given.height // 16, given.width // 16)
    images = F.interpolate(rough, (given.height, given.width), mode="bicubic").clamp(0, 1).to(device)
    images = images.double() if given.double else images
    network = DeepLabV1(ResNet(given.depth)).build(CITYSCAPES_19).to(images)  # pyright: ignore[reportArgumentType]
    return trained_like(network, images[:1]), images


def trained(given: argparse.Namespace, device: torch.device) -> tuple[Network, Tensor]:
    """What was trained, and the first images of a prepared domain."""
    checkpoint = Checkpoint(Path(given.checkpoint))
    domain = PreparedDomain.open(given.data, checkpoint.experiment.label_space, given.domain)
    split = "val" if "val" in domain.splits else domain.splits[0]
    pixels = [torch.from_numpy(domain.read(split, i).image).permute(2, 0, 1) for i in range(given.images)]
    images = torch.stack(pixels).to(device).to(torch.float64 if given.double else torch.float32) / 255
    return network_inside(checkpoint.network(device).to(images.dtype), "this benchmark"), images


def raydgs(predictor: Predictor) -> Callable[[Tensor], Tensor]:
    return lambda image: predictor(image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--checkpoint", help="of a trained network; else it is random")
    parser.add_argument("--data", default="data", help="folder of prepared domains, for a checkpoint")
    parser.add_argument("--domain", help="whose images a checkpoint sees")
    parser.add_argument("--depth", type=int, default=50, choices=(18, 50, 101))
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--cold", action="store_true", help="no run to warm up")
    parser.add_argument("--double", action="store_true", help="float64: labels must be equal to the last")
    parser.add_argument("--bf16", action="store_true", help="bf16 too, by autocast")
    given = parser.parse_args()

    device = torch.device(given.device)
    torch.manual_seed(0)
    network, images = (trained if given.checkpoint else random)(given, device)
    inputs = images.contiguous(memory_format=torch.channels_last)
    changes = {"iterations": given.iterations, "learning_rate": given.learning_rate}
    code = SegTTT.reference(**changes)
    with tempfile.TemporaryDirectory() as folder:
        base = "published procedure"
        variants: dict[str, tuple[Callable[[Tensor], Tensor], Tensor]] = {
            base: (Published(network, Path(folder) / "a.pt", code, False), images),
            "raydg, as the published code": (raydgs(code.predictor(network)), inputs),
            "raydg, as the paper (IaBN throughout)": (raydgs(SegTTT(**changes).predictor(network)), inputs),
        }
        if given.bf16:
            half = SegTTT.reference(**changes, bf16=True)
            variants["published procedure, bf16"] = Published(network, Path(folder) / "b.pt", code, True), images
            variants["raydg, as the published code, bf16"] = raydgs(half.predictor(network)), inputs
        seconds: dict[str, list[float]] = {name: [] for name in variants}
        labels: dict[str, Tensor] = {}
        for repeat in range(given.cold, given.repeats + 1):
            for name, (variant, batch) in variants.items():
                outputs = []
                for image in batch.split(1):
                    took, output = measure(variant, image, device)
                    outputs.append(output.argmax(1))
                    if repeat:
                        seconds[name].append(took)
                labels[name] = torch.cat(outputs)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    height, width = images.shape[-2:]
    what = given.checkpoint or f"random ResNet-{given.depth}"
    print(
        f"{where}, torch {torch.__version__}, {images.dtype}, {what}, {len(images)} image(s) of {height} x {width}, "
        f"{given.iterations} iterations"
    )
    print(f"{'':40}{'s / image':>11}{'ratio':>8}{'equal labels':>14}")
    for name in variants:
        median, published = statistics.median(seconds[name]), statistics.median(seconds[base])
        equal = (labels[name] == labels[base]).double().mean().item()
        print(f"{name:40}{median:11.2f}{median / published:8.2f}{100 * equal:13.4f}%")
    if given.iterations:
        with torch.no_grad():
            changed = (labels[base] != network(images).argmax(1)).double().mean().item()
        print(f"The procedure changed {100 * changed:.1f} % of the network's labels.")


def measure(variant: Callable[[Tensor], Tensor], image: Tensor, device: torch.device) -> tuple[float, Tensor]:
    """Seconds of one call, and what it gave."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    output = variant(image)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began, output


if __name__ == "__main__":
    main()
