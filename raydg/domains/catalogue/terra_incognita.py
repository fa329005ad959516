"""Terra Incognita: animals before camera traps at four places, as DomainBed selects them."""

from raydg.domains.dataset import Dataset, Edition
from raydg.domains.label_table import LabelTable
from raydg.domains.labels import LabelSpace, spread_palette
from raydg.domains.layouts import ClassFolders, DrawnSplit

# Places and classes of DomainBed's selection from Caltech Camera Traps (facebookresearch/DomainBed,
# domainbed/scripts/download.py), numbered as torchvision's ImageFolder does.
TERRA_10 = LabelSpace(
    name="terra10",
    task="classification",
    classes=(
        "bird", "bobcat", "cat", "coyote", "dog", "empty", "opossum", "rabbit", "raccoon", "squirrel",
    ),
    palette=spread_palette(10),
)  # fmt: skip

PLACES = ("location_38", "location_43", "location_46", "location_100")

# No contract, for no count of the images could be verified. An image with two kinds of animal lies in both folders.
DATASET = Dataset(
    name="terra_incognita",
    title="Terra Incognita, DomainBed's selection",
    domains=tuple(f"terra_incognita/{place}" for place in PLACES),
    editions=(
        Edition(
            name="DomainBed",
            layout=ClassFolders(
                roots=(".", "terra_incognita"),
                domains={place: (place,) for place in PLACES},
                classes={name: raw_id for raw_id, name in enumerate(TERRA_10.classes)},
                # None is official; DomainBed draws 20 % of each domain for validation anew for every trial.
                drawn=DrawnSplit(train_percent=80),
            ),
            tables=(LabelTable(TERRA_10, dict(enumerate(TERRA_10.classes))),),
        ),
    ),
    source="https://lila.science/datasets/caltech-camera-traps, selected by DomainBed's domainbed/scripts/download.py",
    licence="Caltech Camera Traps; its terms were not at hand.",
    commercial_use="unknown",
    citation="Beery, Van Horn and Perona, Recognition in Terra Incognita, ECCV 2018; Gulrajani and Lopez-Paz, In "
    "Search of Lost Domain Generalization, ICLR 2021",
)
