"""DomainNet: 345 kinds of thing in cliparts, infographics, paintings, quick drawings, photos and sketches."""

from raydg.domains.contract import Contract, ExpectedSplit
from raydg.domains.dataset import Dataset, Edition
from raydg.domains.label_table import LabelTable
from raydg.domains.labels import LabelSpace, spread_palette
from raydg.domains.layouts import DrawnSplit, ListedImages

# The names of the folders in the order of the ids in the official lists, which is that of the alphabet with capitals,
# `_` and `-` passed over (so `paintbrush` before `paint_can`). Compared with more than 300 of the names and ids in
# clipart_val.txt of github.com/prithv1/DMG, 30339c0a. DomainBed numbers the folders otherwise, capitals first.
DOMAINNET_345 = LabelSpace(
    name="domainnet345",
    task="classification",
    classes=(
        "aircraft_carrier", "airplane", "alarm_clock", "ambulance", "angel", "animal_migration", "ant", "anvil",
        "apple", "arm", "asparagus", "axe", "backpack", "banana", "bandage", "barn", "baseball", "baseball_bat",
        "basket", "basketball", "bat", "bathtub", "beach", "bear", "beard", "bed", "bee", "belt", "bench", "bicycle",
        "binoculars", "bird", "birthday_cake", "blackberry", "blueberry", "book", "boomerang", "bottlecap", "bowtie",
        "bracelet", "brain", "bread", "bridge", "broccoli", "broom", "bucket", "bulldozer", "bus", "bush", "butterfly",
        "cactus", "cake", "calculator", "calendar", "camel", "camera", "camouflage", "campfire", "candle", "cannon",
        "canoe", "car", "carrot", "castle", "cat", "ceiling_fan", "cello", "cell_phone", "chair", "chandelier",
        "church", "circle", "clarinet", "clock", "cloud", "coffee_cup", "compass", "computer", "cookie", "cooler",
        "couch", "cow", "crab", "crayon", "crocodile", "crown", "cruise_ship", "cup", "diamond", "dishwasher",
        "diving_board", "dog", "dolphin", "donut", "door", "dragon", "dresser", "drill", "drums", "duck", "dumbbell",
        "ear", "elbow", "elephant", "envelope", "eraser", "eye", "eyeglasses", "face", "fan", "feather", "fence",
        "finger", "fire_hydrant", "fireplace", "firetruck", "fish", "flamingo", "flashlight", "flip_flops",
        "floor_lamp", "flower", "flying_saucer", "foot", "fork", "frog", "frying_pan", "garden", "garden_hose",
        "giraffe", "goatee", "golf_club", "grapes", "grass", "guitar", "hamburger", "hammer", "hand", "harp", "hat",
        "headphones", "hedgehog", "helicopter", "helmet", "hexagon", "hockey_puck", "hockey_stick", "horse", "hospital",
        "hot_air_balloon", "hot_dog", "hot_tub", "hourglass", "house", "house_plant", "hurricane", "ice_cream",
        "jacket", "jail", "kangaroo", "key", "keyboard", "knee", "knife", "ladder", "lantern", "laptop", "leaf", "leg",
        "light_bulb", "lighter", "lighthouse", "lightning", "line", "lion", "lipstick", "lobster", "lollipop",
        "mailbox", "map", "marker", "matches", "megaphone", "mermaid", "microphone", "microwave", "monkey", "moon",
        "mosquito", "motorbike", "mountain", "mouse", "moustache", "mouth", "mug", "mushroom", "nail", "necklace",
        "nose", "ocean", "octagon", "octopus", "onion", "oven", "owl", "paintbrush", "paint_can", "palm_tree", "panda",
        "pants", "paper_clip", "parachute", "parrot", "passport", "peanut", "pear", "peas", "pencil", "penguin",
        "piano", "pickup_truck", "picture_frame", "pig", "pillow", "pineapple", "pizza", "pliers", "police_car", "pond",
        "pool", "popsicle", "postcard", "potato", "power_outlet", "purse", "rabbit", "raccoon", "radio", "rain",
        "rainbow", "rake", "remote_control", "rhinoceros", "rifle", "river", "roller_coaster", "rollerskates",
        "sailboat", "sandwich", "saw", "saxophone", "school_bus", "scissors", "scorpion", "screwdriver", "sea_turtle",
        "see_saw", "shark", "sheep", "shoe", "shorts", "shovel", "sink", "skateboard", "skull", "skyscraper",
        "sleeping_bag", "smiley_face", "snail", "snake", "snorkel", "snowflake", "snowman", "soccer_ball", "sock",
        "speedboat", "spider", "spoon", "spreadsheet", "square", "squiggle", "squirrel", "stairs", "star", "steak",
        "stereo", "stethoscope", "stitches", "stop_sign", "stove", "strawberry", "streetlight", "string_bean",
        "submarine", "suitcase", "sun", "swan", "sweater", "swing_set", "sword", "syringe", "table", "teapot",
        "teddy-bear", "telephone", "television", "tennis_racquet", "tent", "The_Eiffel_Tower",
        "The_Great_Wall_of_China", "The_Mona_Lisa", "tiger", "toaster", "toe", "toilet", "tooth", "toothbrush",
        "toothpaste", "tornado", "tractor", "traffic_light", "train", "tree", "triangle", "trombone", "truck",
        "trumpet", "t-shirt", "umbrella", "underwear", "van", "vase", "violin", "washing_machine", "watermelon",
        "waterslide", "whale", "wheel", "windmill", "wine_bottle", "wine_glass", "wristwatch", "yoga", "zebra",
        "zigzag",
    ),
    palette=spread_palette(345),
)  # fmt: skip

TABLE = LabelTable(DOMAINNET_345, dict(enumerate(DOMAINNET_345.classes)))
CLASSES = {name: raw_id for raw_id, name in enumerate(DOMAINNET_345.classes)}
FOLDERS = {name: name for name in ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")}
ROOTS = (".", "DomainNet", "domain_net")


def contract(edition: str, source: str) -> Contract:
    """Both editions have splits of the same sizes. Which images a drawn one has is not expected: no list was here."""
    return Contract(
        edition=edition,
        source=source,
        splits=tuple(
            ExpectedSplit(domain=f"domainnet/{domain}", split=split, samples=samples)
            for domain, *sizes in (
                ("clipart", 30172, 3353, 14604),
                ("infograph", 32420, 3603, 15582),
                ("painting", 45374, 5042, 21850),
                ("quickdraw", 108675, 12075, 51750),
                ("real", 108815, 12091, 52041),
                ("sketch", 43390, 4822, 20916),
            )
            for split, samples in zip(("train", "val", "test"), sizes, strict=True)
        ),
    )


# The official train list has no validation part. DMG's authors took 90 % of each domain for training and shared the
# result; the sizes that come of raydg's rule are theirs, the images are not.
OFFICIAL = Edition(
    name="official lists",
    layout=ListedImages(
        roots=ROOTS,
        domains=FOLDERS,
        lists={"train": "train", "val": "train", "test": "test"},
        classes=CLASSES,
        drawn=DrawnSplit(train_percent=90),
    ),
    tables=(TABLE,),
    contract=contract(
        "cleaned, of 2019",
        "ai.bu.edu/M3SDA, row Cleaned (48,129, 51,605, 72,266, 172,500, 172,947, 69,128 images), which the sizes of "
        "the lists of DMG add up to; train and val by raydg's rule",
    ),
)

DMG = Edition(
    name="lists of DMG",
    layout=ListedImages(
        roots=ROOTS,
        domains=FOLDERS,
        lists={"train": "train", "val": "val", "test": "test"},
        classes=CLASSES,
    ),
    tables=(TABLE,),
    contract=contract(
        "lists of DMG", "github.com/prithv1/DMG, 30339c0a, data/DomainNet/tv_0.9_splits; quickdraw train is the rest"
    ),
)

DATASET = Dataset(
    name="domainnet",
    title="DomainNet",
    domains=tuple(f"domainnet/{domain}" for domain in FOLDERS),
    editions=(OFFICIAL, DMG),
    source="https://ai.bu.edu/M3SDA (the cleaned version); the lists of DMG: https://github.com/prithv1/DMG",
    licence="Non-commercial research and education: a fair use notice for copyrighted images (as the copies on Hugging "
    "Face quote the dataset's site).",
    commercial_use="no",
    citation="Peng, Bai, Xia, Huang, Saenko and Wang, Moment Matching for Multi-Source Domain Adaptation, ICCV 2019",
)
