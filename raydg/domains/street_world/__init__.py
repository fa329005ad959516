"""A procedural street world: seven domains with the labels of Cityscapes, drawn instead of downloaded.

`render` gives one scene, `write` a data set. A domain is a `Style`: its palette, light, weather, camera and the habits
of its streets. A scene comes about in three steps: a plan of the street (`plan`); faces in metres that stand on it
(`scene`, from `ground`, `buildings`, `enclosures`, `greenery`, `furniture`, `traffic`); one raster of face numbers
(`view`), of which `rendering` reads both the labels and, by way of `light` and `lens`, the image.
"""

from raydg.domains.street_world.domains import DOMAINS, STYLES
from raydg.domains.street_world.files import write
from raydg.domains.street_world.rendering import render
from raydg.domains.street_world.style import Style

__all__ = ["DOMAINS", "STYLES", "Style", "render", "write"]
