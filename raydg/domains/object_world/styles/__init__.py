"""How each domain paints a figure."""

from collections.abc import Callable, Sequence

import numpy as np

from raydg.domains.object_world.shapes.outlines import Layer
from raydg.domains.object_world.styles.cartoon import cartoon
from raydg.domains.object_world.styles.painting import painting
from raydg.domains.object_world.styles.palette import Palette
from raydg.domains.object_world.styles.photo import photo
from raydg.domains.object_world.styles.sketch import sketch

STYLES: dict[str, Callable[[Sequence[Layer], Palette, np.random.Generator, int], np.ndarray]] = {
    "photo": photo,
    "painting": painting,
    "cartoon": cartoon,
    "sketch": sketch,
}
"""Each paints a placed figure in the colours of nature, or its own, as (size, size, 3) uint8."""
