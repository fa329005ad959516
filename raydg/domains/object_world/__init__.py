"""A world of seven kinds of objects in four styles, drawn by the package itself: PACS in miniature, with no download.

The classes are those of PACS. A network trained on three of the styles loses accuracy on the fourth, which is what
domain generalisation is about; a person does not.
"""

from raydg.domains.object_world.pacs import write
from raydg.domains.object_world.picture import CLASSES, DOMAINS, render

__all__ = ["CLASSES", "DOMAINS", "render", "write"]
