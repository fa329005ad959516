"""Self-adaptation ("Adaptive Generalization for Semantic Segmentation", submitted to ICLR 2022): its ERM baselines met
with t-BN, p-BN and IaBN, from GTA or SYNTHIA to four real datasets; and training on the targets themselves as a bound.

    raydg prepare gtav FOLDER
    raydg prepare cityscapes FOLDER
    raydg prepare bdd100k FOLDER
    raydg prepare idd FOLDER
    raydg prepare mapillary FOLDER --longest-side 2048
    raydg prepare wilddash FOLDER
    raydg prepare synthia FOLDER --label-space synthia16
    raydg prepare cityscapes FOLDER --label-space synthia16
    raydg prepare bdd100k FOLDER --label-space synthia16
    raydg prepare idd FOLDER --label-space synthia16
    raydg prepare mapillary FOLDER --label-space synthia16 --longest-side 2048
    raydg prepare wilddash FOLDER --label-space synthia16
    python jobs/self_adaptation.py train --gpus-per-worker 1
    python jobs/self_adaptation.py evaluate --gpus-per-worker 1

`list` prints the cells; `--only "GTA*"` and `--targets cityscapes` choose among them.

The code of the recipe is raydg/studies/self_adaptation.py.
`raydg studies self-adaptation/T1` is a table of the paper.

**Recipe** (section 5; visinf/self-adaptive 46ea73e): ERM with SGD, learning rate 5e-3, momentum 0.9, weight decay 1e-4,
poly 0.9, 50 epochs of 4 images a step; a crop of 8 to 100 % of the image at 512 x 512, flip, blur always, jitter half
of the time, grey once in ten. DeepLabV1 (output stride 8); DeepLabV3+ at stride 8 (Table 8) and 16 (Table 9); HRNet.

**BatchNorm pool.** All 4 images (SyncBN on two GPUs in the paper, one GPU in the README), so a step is one episode of
4, on one worker. `--Sampling.images-per-domain 2 --Sampling.episodes-per-step 2` gives two workers pools of 2.

**Expected**, mIoU in percent on Cityscapes / BDD100K / IDD (Tables 1 and 8), t-BN, then p-BN, then IaBN where printed:

| cell | t-BN | p-BN | IaBN |
|---|---|---|---|
| GTA DeepLabV1 R50 | 30.95 / 28.52 / 32.78 | 37.71 / 31.67 / 30.85 | 37.54 / 32.79 / 34.21 |
| GTA DeepLabV1 R101 | 32.90 / 32.54 / 30.36 | 39.88 / 34.30 / 33.05 | 42.17 / 35.40 / 33.52 |
| GTA DeepLabV3+ R50 | 37.51 / 35.45 / 37.50 | | |
| GTA DeepLabV3+ R101 | 38.19 / 37.05 / 38.22 | | |
| GTA HRNet-W18 | 33.08 / 29.40 / 32.97 | | 40.0 on Cityscapes (section 5.3) |
| GTA HRNet-W48 | 34.66 / 30.85 / 34.64 | | |

Cityscapes / Mapillary / BDD100K (Tables 4 and 9), t-BN:

| cell | ResNet-50 | ResNet-101 |
|---|---|---|
| GTA DeepLabV1 | 30.95 / 34.56 / 28.52 | 32.90 / 36.00 / 32.54 |
| GTA DeepLabV3+ OS16 | 37.75 / 40.36 / 33.70 | |
| SYNTHIA DeepLabV1, 16 classes | 31.83 / 33.41 / 24.30 | 37.25 / 36.84 / 29.32 |
| In-domain bound | 71.23 / 58.39 / 58.53 | 73.84 / 62.81 / 61.19 |

A bound has no unseen target: it is scored in-domain, on its own validation split. MC-Dropout's network of Table
1b, Seg-TTT, TTA and Tent are in the tables and figures.
Nobody has run this job at full length yet.

**Paper and code.** We follow the code where they differ: hue by +-0.1 (the paper writes a factor); the instance weight
is 0.1, and 0.2 for GTA on ResNet-101 (its checkpoints' names; the paper gives only 0.1 for ResNet-50). We follow the
paper where the code cannot be followed: Mapillary is scored on the 2,000 validation images, not on 2,000 of the
training folder in the order of a file system (the named part `train_first2000` is the nearest:
`--targets mapillary --Experiment.target-splits '["train_first2000"]'`).

**Deviations.**
- WildDash chooses the checkpoint by plain inference, among ten. The code chooses epoch and instance weight together,
  every epoch from the 40th; so does the row whose instance weight is "chosen with the checkpoint", among these ten.
- Mapillary is prepared at 2048 pixels at most, proportions kept, and squeezed to 1024 x 2048 from there (`Capped`), as
  the code squeezes all images of more pixels; it starts from the original. Prepare without `--longest-side` to do so.
- Statistics of IaBN are each image's own, as the paper says; equal to the code's batches of one.
- Images of SYNTHIA in training: 6,580 (RobustNet's list); the code takes a folder whose split it does not tell.
"""

from raydg.experiment import Study
from raydg.job import main
from raydg.studies.self_adaptation import BOUNDS, DEEPLAB_V1, OTHERS, baseline, bound

study = Study(
    name="self_adaptation",
    experiments=(
        *(baseline("G", network) for network in (*DEEPLAB_V1, *OTHERS)),
        *(baseline("S", network) for network in DEEPLAB_V1),
        *(bound(source, network) for source in BOUNDS for network in DEEPLAB_V1),
    ),
)

if __name__ == "__main__":
    main(study)
