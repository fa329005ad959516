"""TSMLDG: Zhang et al., "Generalizable Semantic Segmentation via Model-agnostic Learning and Target-specific
Normalization": AGG and MLDG on several street datasets, with and without the target's own statistics (TN).

    raydg prepare gtav FOLDER --out data/tsmldg
    raydg prepare synthia FOLDER --out data/tsmldg
    raydg prepare idd FOLDER --out data/tsmldg --longest-side 1280
    raydg prepare cityscapes FOLDER --out data/tsmldg
    raydg prepare mapillary FOLDER --out data/tsmldg --longest-side 2590
    python jobs/tsmldg.py train --workers 4 --gpus-per-worker 1
    python jobs/tsmldg.py evaluate --workers 4 --gpus-per-worker 1

`list` prints the cells, `--only "MLDG*"` and `--targets cityscapes` choose among them. The weights that training starts
from, ImageNet's for a ResNet-50 with a deep stem (Zhang's "encoding" networks), are a file of your own: put it at
weights/resnet50_deep_stem.pth or give `--ResNet.weights PATH`.

The code of the recipe is raydg/studies/tsmldg.py.
`raydg studies tsmldg/T1` is a table of the paper.

**Recipe** (section 4.2; koncle/TSMLDG 9860118): SGD, learning rate 5e-3, look-ahead step 1e-3, momentum 0.9, weight
decay 5e-4, poly 0.9, 120 epochs of 375 steps, 8 images of every source a step, crops of 600, TN on batches of 16 in
five orders. FCN head on a ResNet-50 of output stride 8, which only the code tells.

**BatchNorm pool.** The code's 8 images per domain lie on 4 GPUs without synchronised statistics: 2 images of each
domain that shares a forward. So an episode has 2, a step 4 episodes, which 1 to 4 workers share. (The code weights a
labelled pixel alike on all GPUs; here each episode has the mean over its own.)

**What is scored** is the code's (`CenterCrop`): an image is scaled to a short side of 768 and its middle 768 x 768 is
predicted and judged, labels being scaled and cut likewise. So all images of a batch share a size, and half of a
Cityscapes frame, its sides, never counts. Of Mapillary the first 500 images count, as there. Without
`protocol` in raydg/studies/tsmldg.py whole images are scored at their own sizes; batches then form within equal sizes.

**Expected**, mIoU in percent, the paper's Table 3, plain / with TN:

| sources -> target | AGG | MLDG |
|---|---|---|
| G+S+I -> M | 49.26 / 45.37 | 49.00 / 50.20 |
| G+S+I -> C | 48.31 / 48.13 | 48.64 / 51.15 |
| G+S+I+C -> M | 52.89 / 48.08 | 53.85 / 54.92 |
| G+S+I+M -> C | 53.71 / 54.81 | 55.95 / 57.69 |

Table 5, with TN, on Cityscapes: G 29.33 (one source cannot be split, so that cell is AGG + TN), G+S 38.51. Table 4,
G+S+I+M -> C, meta-train to meta-test 3:1 54.38, 2:2 55.95, 1:3 55.41. Figure 4, the same sources, TN on batches of 1 /
8 / 16 / 32 / 48 / 64 / 80: AGG 51.8 / 53.9 / 54.8 / 55.0 / 55.1 / 55.1 / 55.0, MLDG 57.1 / 57.6 / 57.9 / 57.7 / 57.7 /
57.7 / 57.4. Tables 1 and 2 are the Cityscapes server's. Nobody has run this job at full length yet.

**Paper and code.** The numbers came from the code, so `MLDG()` is what it runs: first order, both weights 1, a random
split of the domains. The paper differentiates through the look-ahead (`--MLDG.second-order True`) and splits four
sources 2:2, which is the cell "MLDG 2:2" beside the code's.

**Deviations.**
- The code keeps the epoch that is best on the target. Here the sources choose, on their validation splits every ten
  epochs, their whole images at their own sizes; `oracle` gives the code's rule.
- Mapillary's short side is 769 in the code, and 768 here, as everyone's.
- Mapillary's labels come from its own ids; the code knows only those that are painted as in Cityscapes.
- Scales are relative to an image's own size; those of the code to a long side of its own per dataset, which the
  `--longest-side` above gives IDD and Mapillary (never enlarging). Hence a data folder of this job's own.
- Corners that rotation and padding leave are ignored; the code's bug trains some of them as road.
- The code's learning rate lags a step; its "random" draws of images are with replacement.
"""

from dataclasses import replace

from raydg.experiment import Study
from raydg.job import main
from raydg.methods import ERM
from raydg.resources import Resources
from raydg.studies.tsmldg import DATA, FIGURE_4, METHODS, SPLITS, experiment

study = Study(
    name="tsmldg",
    experiments=(
        *(
            experiment(name, method, sources, target)
            for sources, target in (("G+S+I", "M"), ("G+S+I", "C"), ("G+S+I+C", "M"), ("G+S", "C"))
            for name, method in METHODS.items()
        ),
        *(
            replace(experiment(name, method, "G+S+I+M", "C", FIGURE_4), in_domain_splits=("val",))
            for name, method in METHODS.items()
        ),
        *(experiment(name, method, "G+S+I+M", "C") for name, method in SPLITS.items()),
        experiment("AGG", ERM(), "G", "C"),
    ),
)

if __name__ == "__main__":
    main(study, Resources(data=DATA))
