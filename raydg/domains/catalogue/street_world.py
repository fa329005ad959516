"""The procedural streets that raydg draws itself."""

from raydg.domains.catalogue.cityscapes import ID_TABLES
from raydg.domains.dataset import Dataset, Edition
from raydg.domains.layouts import PairedFiles
from raydg.domains.street_world.domains import DOMAINS

DATASET = Dataset(
    name="street",
    title="Street world",
    domains=tuple(f"street/{domain}" for domain in DOMAINS),
    editions=(
        Edition(
            name="drawn",
            layout=PairedFiles(
                images="{domain}/leftImg8bit/{split}/{id}_leftImg8bit.png",
                labels="{domain}/gtFine/{split}/{id}_gtFine_labelIds.png",
                splits=("train", "val"),
            ),
            tables=ID_TABLES,
        ),
    ),
    source="raydg world street FOLDER",
    licence="Drawn by raydg, Apache-2.0.",
    commercial_use="yes",
    citation="raydg, raydg/domains/street_world",
)
