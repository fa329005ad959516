"""How each domain paints a figure."""

from collections.abc import Callable, Sequence

import numpy as np

from raydg.domains.object_world.shapes.outlines import Layer
from raydg.domains.object_world.styles import cartoon, painting, photo, sketch
from raydg.domains.object_world.styles.palette import Palette

STYLES: dict[str, Callable[[Sequence[Layer], Palette, np.random.Generator, int], np.ndarray]] = {
    "photo": photo.paint,
    "painting": painting.paint,
    "cartoon": cartoon.paint,
    "sketch": sketch.paint,
}
"""Each paints a placed figure in the colours of nature, or its own, as (size, size, 3) uint8."""
