"""What flows through raydg, and the legend of shapes.

    b  images of a batch          k  classes of the label space
    h, w  height, width, pixels   d  source domains

Images are float in [0, 1], RGB, channels first: (b, 3, h, w). The network normalises them itself.
Labels are int64: (b, h, w) class ids for segmentation, (b,) for classification; `IGNORE` neither trains nor counts.
Logits are (b, k, h, w) at the images' own size for segmentation, (b, k) for classification.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from raydg.domains.labels import IGNORE

__all__ = ["IGNORE", "Batch", "Episode", "Role", "Task", "ignore_label"]


def ignore_label(num_classes: int) -> int:
    """The label that neither trains nor counts: `IGNORE`, or one that never occurs where 255 is a class."""
    return IGNORE if num_classes <= IGNORE else -1


Task = Literal["segmentation", "classification"]
Role = Literal["meta-train", "meta-test"]


@dataclass(frozen=True)
class Batch:
    """Labelled images.

    `images` (b, 3, h, w) float in [0, 1]; `labels` (b, h, w) or (b,) int64; `domains` (b,) int64, each image's
    position among the experiment's sources.
    """

    images: Tensor
    labels: Tensor
    domains: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Tensor) -> "Batch":
        """The images that a boolean mask (b,) or an index tensor selects, in order."""
        return Batch(self.images[rows], self.labels[rows], self.domains[rows])

    def by_domain(self) -> list["Batch"]:
        """The images of each domain that the batch has, in the domains' order."""
        return [self[self.domains == domain] for domain in self.domains.unique()]

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32) -> "Batch":
        """Moved to `device`; uint8 images, which is how they travel, become `dtype` in [0, 1].

        Channels come last in memory: convolutions on the CPU, and in bf16 on a GPU, are up to 1.7 times as fast that
        way.
        """
        images = self.images.to(device, non_blocking=True)
        images = images.to(dtype).div_(255) if images.dtype == torch.uint8 else images.to(dtype)
        images = images.contiguous(memory_format=torch.channels_last)
        return replace(
            self, images=images, labels=self.labels.to(device).long(), domains=self.domains.to(device).long()
        )


@dataclass(frozen=True)
class Episode:
    """What one forward of an objective sees: images of every source domain, and the role each domain plays.

    Batches are sorted by domain. `roles[i]` is the role of source i; methods without roles ignore it. `lr` is the
    encoder's learning rate in this step, after the schedule, which the loop fills in.
    """

    step: int
    index: int
    batch: Batch
    roles: tuple[Role, ...]
    lr: float = math.nan

    def of_role(self, role: Role) -> Batch:
        """The images whose domains play `role`, all domains of the role pooled."""
        wanted = torch.tensor([r == role for r in self.roles], device=self.batch.domains.device)
        return self.batch[wanted[self.batch.domains]]

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32) -> "Episode":
        return replace(self, batch=self.batch.to(device, dtype))
