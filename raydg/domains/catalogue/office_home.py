"""Office-Home: things of office and home in art, clipart, pictures of products and photos."""

from raydg.domains.contract import Contract, ExpectedSplit
from raydg.domains.dataset import Dataset, Edition
from raydg.domains.label_table import LabelTable
from raydg.domains.labels import LabelSpace, spread_palette
from raydg.domains.layouts import ClassFolders, DrawnSplit

# The names of the folders, in the order that torchvision's ImageFolder (so DomainBed) numbers them; the paper gives no
# numbers. As in thuml/Transfer-Learning-Library, tllib/vision/datasets/officehome.py, which has another order.
OFFICE_HOME_65 = LabelSpace(
    name="office_home65",
    task="classification",
    classes=(
        "Alarm_Clock", "Backpack", "Batteries", "Bed", "Bike", "Bottle", "Bucket", "Calculator", "Calendar", "Candles",
        "Chair", "Clipboards", "Computer", "Couch", "Curtains", "Desk_Lamp", "Drill", "Eraser", "Exit_Sign", "Fan",
        "File_Cabinet", "Flipflops", "Flowers", "Folder", "Fork", "Glasses", "Hammer", "Helmet", "Kettle", "Keyboard",
        "Knives", "Lamp_Shade", "Laptop", "Marker", "Monitor", "Mop", "Mouse", "Mug", "Notebook", "Oven", "Pan",
        "Paper_Clip", "Pen", "Pencil", "Postit_Notes", "Printer", "Push_Pin", "Radio", "Refrigerator", "Ruler",
        "Scissors", "Screwdriver", "Shelf", "Sink", "Sneakers", "Soda", "Speaker", "Spoon", "TV", "Table", "Telephone",
        "ToothBrush", "Toys", "Trash_Can", "Webcam",
    ),
    palette=spread_palette(65),
)  # fmt: skip

DATASET = Dataset(
    name="office_home",
    title="Office-Home",
    domains=("office_home/art", "office_home/clipart", "office_home/product", "office_home/real_world"),
    editions=(
        Edition(
            name="folders",
            layout=ClassFolders(
                roots=(".", "OfficeHomeDataset_10072016", "OfficeHome", "office_home"),
                domains={
                    "art": ("Art",),
                    "clipart": ("Clipart",),
                    "product": ("Product",),
                    "real_world": ("Real World", "Real_World", "RealWorld", "Real"),
                },
                classes={name: raw_id for raw_id, name in enumerate(OFFICE_HOME_65.classes)},
                # None is official; DomainBed draws 20 % of each domain for validation anew for every trial.
                drawn=DrawnSplit(train_percent=80),
            ),
            tables=(LabelTable(OFFICE_HOME_65, dict(enumerate(OFFICE_HOME_65.classes))),),
            contract=Contract(
                edition="folders",
                source="2,427, 4,365, 4,439 and 4,357 images, as several public loaders state them (no copy was at "
                "hand); 80 % and 20 % by raydg's rule",
                splits=tuple(
                    ExpectedSplit(domain=f"office_home/{domain}", split=split, samples=samples)
                    for domain, train, val in (
                        ("art", 1941, 486), ("clipart", 3492, 873), ("product", 3551, 888), ("real_world", 3485, 872),
                    )
                    for split, samples in (("train", train), ("val", val))
                ),
            ),
        ),
    ),
    source="https://www.hemanthdv.org/officeHomeDataset.html",
    licence="The terms were not at hand; the images were found on the web and are their owners'.",
    commercial_use="unknown",
    citation="Venkateswara, Eusebio, Chakraborty and Panchanathan, Deep Hashing Network for Unsupervised Domain "
    "Adaptation, CVPR 2017",
)  # fmt: skip
