"""The procedural objects that raydg draws itself, in the layout of PACS."""

from raydg.domains import object_world
from raydg.domains.catalogue.pacs import LAYOUT, NUMBERED_FROM_1
from raydg.domains.dataset import Dataset, Edition

DATASET = Dataset(
    name="objects",
    title="Object world",
    domains=tuple(f"objects/{domain}" for domain in object_world.DOMAINS),
    editions=(Edition(name="drawn", layout=LAYOUT, tables=(NUMBERED_FROM_1,)),),
    source="raydg world objects FOLDER",
    licence="Drawn by raydg, Apache-2.0.",
    commercial_use="yes",
    citation="raydg, raydg/domains/object_world",
)
