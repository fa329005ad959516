"""DMG: the weights of overlap and sparsity, and how fast the masks learn.

    python jobs/dmg.py sweep search_spaces/dmg.py --only "DMG R18" --targets pacs/sketch --search grid

| symbol of the paper | setting | range and its source |
|---|---|---|
| λ_O (Eq. 2) | `DMG.overlap_weight` | 0 and 1e-5 to 1, the sweep of Figure 3; published 0.1 |
| λ_S (section 7.2) | `DMG.sparsity_weight` | 0, and 1e-5, the one value of Figure 6's sweep that compares |
| masks' learning rate (section 7.5) | `Optimizer.extras_lr_factor` | published 1; more for short trainings, ours |
"""

from ray import tune

SPACE = {
    "DMG.overlap_weight": tune.choice([0.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]),
    "DMG.sparsity_weight": tune.choice([0.0, 1e-5]),
    "Optimizer.extras_lr_factor": tune.choice([1.0, 10.0, 100.0]),
}
