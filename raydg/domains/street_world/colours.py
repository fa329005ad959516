"""Which of a palette's colours things get."""

from collections.abc import Sequence

import numpy as np

from raydg.domains.street_world.faces import rgb
from raydg.domains.street_world.style import Style


def shades(rng: np.random.Generator, choices: Sequence[Sequence[str]], jitter: float) -> np.ndarray:
    """One colour (3,) from each of n choices: (n, 3), 0 to 1, each up to a share `jitter` lighter or darker."""
    which, light = rng.random((2, len(choices)))
    table = [rgb(colours[int(share * len(colours))]) for colours, share in zip(choices, which, strict=True)]
    return np.minimum(np.array(table).reshape(-1, 3) * (1 + jitter * (2 * light[:, None] - 1)), 1).astype(np.float32)


def glazing(rng: np.random.Generator, style: Style, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Colours (n, 3) and glow (n,) of n windows: the sky's reflection, or a warm room."""
    lit, tone = rng.random((2, n), np.float32)
    lit = lit < style.light.lit_windows
    mirror = 0.05 + 0.4 * tone[:, None]
    dark = rgb(style.palette.glass) * (1 - mirror) + rgb(style.light.horizon) * mirror
    room = rgb("#ffd58a") * (0.7 + 0.3 * tone[:, None])
    return np.where(lit[:, None], room, dark), lit * (0.5 + 0.4 * tone)
