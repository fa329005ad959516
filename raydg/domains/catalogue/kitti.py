"""KITTI's semantic segmentation benchmark."""

from raydg.domains.catalogue.cityscapes import ID_TABLES
from raydg.domains.contract import Contract, ExpectedSplit
from raydg.domains.dataset import Dataset, Edition
from raydg.domains.layouts import PairedFiles

DATASET = Dataset(
    name="kitti",
    title="KITTI semantic segmentation",
    domains=("kitti",),
    # Its only labelled split is called training; there is none for validation.
    editions=(
        Edition(
            name="2018",
            layout=PairedFiles(
                images=("{split}/image_2/{id}.png",),
                labels=("{split}/semantic/{id}.png",),
                splits=("training",),
                archives=("data_semantics",),
            ),
            tables=ID_TABLES,
            contract=Contract(
                edition="2018",
                source=(
                    "200 images of the stereo benchmark of 2015 (cvlibs.net, eval_semseg), whose names end with _10; "
                    "their sizes: philferriere/tfoptflow, dataset_kitti.py"
                ),
                splits=(ExpectedSplit(domain="kitti", split="training", samples=200, members=r"000[01]\d\d_10$"),),
                sizes=((1242, 375), (1224, 370), (1241, 376), (1238, 374)),
                # road, sidewalk, building, pole, traffic sign, vegetation, terrain, sky, car
                occurring=(7, 8, 11, 17, 20, 21, 22, 23, 26),
            ),
        ),
    ),
    source="https://www.cvlibs.net/datasets/kitti/eval_semseg.php?benchmark=semantics2015: data_semantics.zip",
    licence="CC BY-NC-SA 3.0.",
    commercial_use="no",
    citation="Alhaija et al., Augmented Reality Meets Computer Vision, IJCV 2018",
)
