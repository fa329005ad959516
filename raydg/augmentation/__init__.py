"""Augmentation of a labelled image: image and label map move together, and one seed decides everything.

`sample` says what is augmented and what a transform is, `geometry` and `photometry` hold the transforms, `window` cuts
crops, `pipeline` puts transforms in sequence and seeds them.
"""

from raydg.augmentation.geometry import HorizontalFlip, RandomResizedCrop, RandomScaleCrop, Resize, Rotation
from raydg.augmentation.photometry import ColorJitter, GaussianBlur, Grayscale
from raydg.augmentation.pipeline import Augmentation
from raydg.augmentation.sample import Sample, Transform

__all__ = [
    "Augmentation",
    "ColorJitter",
    "GaussianBlur",
    "Grayscale",
    "HorizontalFlip",
    "RandomResizedCrop",
    "RandomScaleCrop",
    "Resize",
    "Rotation",
    "Sample",
    "Transform",
]
