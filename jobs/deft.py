"""DeFT: "Decoupled Finetuning for Domain Generalizable Semantic Segmentation" (ICLR 2025), on GTAV or Cityscapes,
beside joint finetuning in all the forms that the paper compares with.

    raydg prepare gtav FOLDER
    raydg prepare cityscapes FOLDER
    raydg prepare bdd100k FOLDER
    raydg prepare mapillary FOLDER --longest-side 2048
    raydg prepare synthia FOLDER
    python jobs/deft.py train --gpus-per-worker 1
    python jobs/deft.py evaluate --gpus-per-worker 1

`list` prints the cells, `--only "DeFT G R50"` chooses one.

The code of the recipe is raydg/studies/deft.py.
`raydg studies deft/T1` is a table of the paper.

**Recipe** (section 4; no code was published): 4 images a step, SGD, momentum 0.9, learning rate 1e-2, poly 0.9. A
warm-up of the decoder, encoder frozen, of 8,000 steps on GTAV or 2,000 on Cityscapes with weight decay 5e-3; then
40,000 steps of DeFT with weight decay 5e-4 and averages that keep 0.9999 at a step. Jitter, blur, flip, scale 0.5 to 2,
crop 768. DeepLabV3+ without an auxiliary loss.

**BatchNorm pool.** All 4 images, on one worker: a step is one episode of 4.
`--Sampling.images-per-domain 2 --Sampling.episodes-per-step 2` gives two workers pools of 2.

**Expected**, mIoU in percent on Cityscapes / BDD100K / Mapillary, trained on GTAV (Tables 1, 2, 3, 4, 6, 8 and 9):

| cell | published |
|---|---|
| DeFT G R50 | 50.06 / 43.17 / 50.51 |
| DeFT G R101 | 52.14 / 45.16 / 53.15 |
| DeFT G MiT-B5 | 57.16 / 49.32 / 59.99 |
| Auxiliary loss, no augmentation | 35.16 / 29.71 / 31.29 |
| No augmentation | 36.58 / 34.49 / 39.08 |
| No warm-up | 40.77 / 37.87 / 43.39 |
| Joint | 42.32 / 40.33 / 44.88 |
| Joint 3e-3, 1e-3, 1e-4 | 44.87 / 42.10 / 49.38, 44.01 / 39.47 / 47.45, 40.84 / 37.38 / 44.83 |
| Joint + distance | 46.06 / 40.80 / 47.93 |
| DeFT + distance | 51.09 / 43.46 / 51.58 |
| Encoder frozen, decoder frozen | 41.88 / 36.85 / 44.59, 42.52 / 38.75 / 45.03 |
| DeFT 0.99, 0.999 | 44.37 / 40.79 / 46.81, 46.19 / 42.14 / 48.81 |

DeFT C R50, trained on Cityscapes (Table 5), on BDD100K / SYNTHIA / GTAV: 53.12 / 28.87 / 48.72. Table 4 quotes
35.73 / 34.06 / 33.42 as the baseline on ResNet-101; Table 5 quotes 44.96 / 23.29 / 42.55 for Cityscapes. Nobody has run
this job at full length yet.

The first cell is met in all four ways of Table 7, by encoder and decoder that learn or that are averages.

**What the paper leaves open**, and what is taken here:
- Output stride 16 and the network of Pin the Memory's code, which shares RobustNet's recipe; strengths of jitter and
  blur likewise.
- The schedule starts anew in the second stage, and runs in the warm-up; momentum starts at zero.
- A cell without warm-up or with the auxiliary loss trains 40,000 steps; the auxiliary weight is Pin the Memory's 0.4.
- "No augmentation" still crops, for images must have one size, and flips; which of them count is not said.
- The weight of the distance is nowhere given; 1e-3 is a guess, to be chosen on sources.
- MiT-B5 has no recipe: it is the paper's only one, SGD at 1e-2, unchanged ("without additional modifications").
- The last checkpoint counts; images are predicted whole, on one scale.
- What happens to BatchNorm's statistics is argued at DeFT.buffers.
- SYNTHIA labels 16 of the 19 classes; how many were averaged is not said, here those that occur.

**Deviations.** The paper counts 2,985 training images of Cityscapes (there are 2,975). Mapillary is prepared at 2048
pixels at most.
"""

from raydg.experiment import Study
from raydg.job import main
from raydg.studies.deft import TRAININGS

study = Study(name="deft", experiments=tuple(TRAININGS.values()))

if __name__ == "__main__":
    main(study)
