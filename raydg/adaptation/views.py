"""Views of an image: scaled, flipped, grey; and one prediction made of the predictions on them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from raydg.models.network import bilinear_aligned
from raydg.values import Value

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey: ITU-R BT.601, as Pillow's."""

Size = tuple[int, int]


@dataclass(frozen=True)
class View:
    """One way to look at an image."""

    scale: float = 1.0
    """Size relative to the image."""
    flip: bool = False
    """Whether left and right change places."""
    grey: bool = False
    """Whether all three channels are the luma."""

    def size(self, images: Tensor) -> Size:
        """Height and width of the view of images (b, 3, h, w), in pixels, rounded, at least 1."""
        height, width = (max(1, round(self.scale * side)) for side in images.shape[-2:])
        return height, width

    def of(self, scaled: Tensor) -> Tensor:
        """The view of images (b, 3, h', w') that have its size already."""
        if self.grey:
            weights = torch.tensor(LUMA, dtype=scaled.dtype, device=scaled.device).view(3, 1, 1)
            scaled = (scaled * weights).sum(1, keepdim=True).expand_as(scaled)
        return self.mirrored(scaled)

    def mirrored(self, maps: Tensor) -> Tensor:
        """Maps (b, c, h, w) flipped where the view is; its own inverse."""
        return maps.flip(-1) if self.flip else maps


@dataclass(frozen=True)
class Views(Value):
    """Which views of an image vote; the defaults are self-adaptation's (Section 5.2, Figure 1, and its code).

    Every scale has a plain view, and with `flip` and `grey` others. The original size votes only if 1 is a scale: in
    the published code it does not. Resizing is bilinear with antialiasing, Pillow's way; a side is rounded to pixels.

    Raises:
        ValueError: no scale, one that is not above 0 or stands twice, or views together of which there are none.
    """

    scales: tuple[float, ...] = (0.25, 0.5, 0.75)
    """Sizes relative to the image."""
    flip: bool = True
    """Whether every scale has a view whose left and right have changed places."""
    grey: bool = True
    """Whether every scale has a grey view."""
    together: bool = True
    """Whether one view is both flipped and grey (the published code), or each is a view of its own. It decides nothing
    unless there are both."""

    TABLE_6: ClassVar[dict[str, "Views"]]
    """The paper's rows. Baseline and IaBN are both one plain view and differ in what normalises. Rows without several
    scales have the original size; the code, which has none of the rows but the last, leaves that open."""

    def __post_init__(self) -> None:
        super().__post_init__()
        legal = "at least one number above 0, each once"
        ok = len(self.scales) >= 1 and all(s > 0 for s in self.scales) and len(set(self.scales)) == len(self.scales)
        self.require(ok, "scales", legal)

    @property
    def label(self) -> str:
        """Short text for tables: the scales, and which views a scale has beside the plain one."""
        marks = (["flip"] if self.flip else []) + (["grey"] if self.grey else [])
        return "/".join(f"{s:g}" for s in self.scales) + "".join(
            f" + {mark}" for mark in (["flip grey"] if len(marks) == 2 and self.together else marks)
        )

    def views(self) -> tuple[View, ...]:
        """Every view, scale by scale, the plain one first."""
        kinds = [(False, False)]
        if self.flip and self.grey and self.together:
            kinds.append((True, True))
        else:
            kinds += ([(True, False)] if self.flip else []) + ([(False, True)] if self.grey else [])
        return tuple(View(scale, flip, grey) for scale in self.scales for flip, grey in kinds)

    def by_size(self, images: Tensor) -> dict[Size, tuple[tuple[View, ...], Tensor]]:
        """The views of images (b, 3, h, w) that have a size: which, and one batch (n b, 3, h', w') of them, view by
        view. Views that share a size are resized once and can share a forward."""
        groups: dict[Size, list[View]] = {}
        for view in self.views():
            groups.setdefault(view.size(images), []).append(view)
        return {
            size: (tuple(group), torch.cat([view.of(scaled) for view in group]))
            for size, group in groups.items()
            for scaled in [resized(images, size)]
        }


Views.TABLE_6 = {
    "Baseline": Views((1.0,), flip=False, grey=False),
    "IaBN": Views((1.0,), flip=False, grey=False),
    "Multiple scales": Views(flip=False, grey=False),
    "Horizontal flipping": Views((1.0,), grey=False),
    "Grayscaling": Views((1.0,), flip=False),
    "Multiple scales + horizontal flipping": Views(grey=False),
    "Multiple scales + grayscaling": Views(flip=False),
    "Multiple scales + horizontal flipping + grayscaling": Views(),
}


PUBLISHED = Views()
"""Self-adaptation's six: three sizes, each plain, and flipped and grey."""


def resized(images: Tensor, size: Size) -> Tensor:
    """Images (b, 3, h, w) at another size, bilinear with antialiasing."""
    if tuple(images.shape[-2:]) == size:
        return images
    # Not every device has antialiasing in half precision.
    precise = images.to(torch.promote_types(images.dtype, torch.float32))
    return F.interpolate(precise, size, mode="bilinear", align_corners=False, antialias=True).to(images.dtype)


class Fusion:
    """The mean of probabilities over views, as a running sum on the device (self-adaptation Eq. 5).

    Probabilities of the views of one size are flipped back and added at that size, and brought to the image's by
    bilinear interpolation with aligned corners, the published code's: it is linear, so the sum may come first.
    """

    def __init__(self, size: Size) -> None:
        """`size` is the images' (h, w)."""
        self.size, self.total, self.count = size, torch.zeros(()), 0

    def add(self, group: tuple[View, ...], logits: Tensor) -> None:
        """Count logits (n b, k, h', w') or (n b, k) of n views of one size, view by view."""
        precise = torch.promote_types(logits.dtype, torch.float32)
        first, *others = [
            view.mirrored(part) if logits.ndim == 4 else part
            for view, part in zip(group, logits.to(precise).softmax(1).chunk(len(group)), strict=True)
        ]
        together = first
        for part in others:
            together = together + part
        if logits.ndim == 4 and tuple(logits.shape[-2:]) != self.size:
            together = bilinear_aligned(together, self.size)
        self.total = together if self.count == 0 else self.total.add_(together)
        self.count += len(group)

    def mean(self) -> Tensor:
        """Probabilities (b, k, h, w) at the images' size or (b, k), of float32 at least."""
        return self.total / self.count


def fused(forward: Callable[[Tensor], Tensor], images: Tensor, views: Views, together: bool = True) -> Tensor:
    """The mean over the views of images (b, 3, h, w) of the probabilities that `forward`'s logits give.

    Args:
        together: whether views of one size may share a forward, which they may where each image is met by itself.
    """
    height, width = images.shape[-2:]
    fusion = Fusion((height, width))
    for group, batch in views.by_size(images).values():
        if together:
            fusion.add(group, forward(batch))
        else:
            for view, part in zip(group, batch.chunk(len(group)), strict=True):
                fusion.add((view,), forward(part))
    return fusion.mean()
