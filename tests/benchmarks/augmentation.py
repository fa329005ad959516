"""What an augmentation costs on one core, beside "resize the whole frame, then crop" with the same transforms after it.

    python tests/benchmarks/augmentation.py

Prints processor milliseconds an image, and what the crop alone and the pipeline cost as a ratio to the baseline's, in
the same run.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from raydg.augmentation import (
    Augmentation,
    ColorJitter,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    RandomScaleCrop,
    Rotation,
    Sample,
    Transform,
)
from raydg.augmentation.sample import uniform

REPEATS = 40


@dataclass(frozen=True)
class ResizeThenCrop(RandomScaleCrop):
    """The baseline: torchvision's resize of the whole frame and of its label map, then its padded random crop."""

    def apply(self, sample: Sample) -> Sample:
        scale = uniform(self.scale_min, self.scale_max)
        size = [round(length * scale) for length in sample.image.shape[1:]]
        crop = v2.RandomCrop(
            self.output_size, pad_if_needed=True, fill={tv_tensors.Image: 0, tv_tensors.Mask: 255, "others": 0}
        )
        assert isinstance(sample.label, tv_tensors.Mask)
        image, label = crop(F.resize(sample.image, size), F.resize(sample.label, size))
        return replace(sample, image=image, label=label)


def frame(height: int, width: int, focus: int | None) -> Sample:
    """A smooth frame in the memory order in which decoders deliver it, with blocks of 19 classes."""
    coarse = torch.randint(0, 256, (3, 8, 16), dtype=torch.uint8)
    image = F.resize(coarse, [height, width]).permute(1, 2, 0).contiguous().permute(2, 0, 1)
    label = F.resize(torch.randint(0, 19, (1, 8, 16), dtype=torch.uint8), [height, width], v2.InterpolationMode.NEAREST)
    return Sample(tv_tensors.Image(image), tv_tensors.Mask(label[0]), focus)


def alternate(*runs: Callable[[int], object]) -> list[float]:
    """Median processor seconds of each run over the same seeds, taken in turns: a busy machine slows all alike."""
    seconds: list[list[float]] = [[] for _ in runs]
    for seed in range(-2, REPEATS):  # two rounds warm up
        for run, taken in zip(runs, seconds, strict=True):
            start = time.process_time()
            run(seed)
            if seed >= 0:
                taken.append(time.process_time() - start)
    return [median(taken) for taken in seconds]


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    after: tuple[Transform, ...] = (
        HorizontalFlip(),
        Rotation(10, probability=0.5),
        ColorJitter(0.4, 0.4, 0.4, 0.1, probability=0.5),
        GaussianBlur(0.15, 1.3, probability=0.5),
        Grayscale(probability=0.1),
    )
    print(f"{'frame':>12} {'crop':>9} {'baseline':>16} {'ours':>16} {'focus':>16}   ratio ours / baseline")
    for (height, width), size in (((128, 256), 128), ((1024, 2048), 512), ((1024, 2048), 768)):
        baseline, crop = ResizeThenCrop(size, size), RandomScaleCrop(size, size)
        plain, focused = frame(height, width, None), frame(height, width, focus=3)
        for name, rest in (("crop", ()), ("all", after)):
            slow, fast = Augmentation((baseline, *rest)), Augmentation((crop, *rest))
            times = alternate(
                lambda seed, a=slow, s=plain: a.apply(s, seed, "meta-train"),
                lambda seed, a=fast, s=plain: a.apply(s, seed, "meta-train"),
                lambda seed, a=fast, s=focused: a.apply(s, seed, "meta-train"),
            )
            shown = " ".join(f"{1000 * seconds:9.2f} ms {name:>4}" for seconds in times)
            print(f"{width:>6} x{height:>4} {size:>4} x{size:>3} {shown}   {times[1] / times[0]:.2f}")


if __name__ == "__main__":
    main()
