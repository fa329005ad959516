"""Joint finetuning after a warm-up of the decoder, which DeFT compares itself with: learning rate and distance.

    python jobs/deft.py sweep search_spaces/joint_finetuning.py --only Joint --search grid

Trials with the same warm-up share it: it is trained once.

| symbol of the paper | setting | range and its source |
|---|---|---|
| learning rate (DeFT, Table 2) | `stages.1.optimizer.lr` | the four of Table 2 |
| α (DeFT, Eq. 3) | `stages.1.method.distance_weight` | 0 and 1e-5 to 1e-2, ours: the paper does not say what it used |
"""

from ray import tune

SPACE = {
    "stages.1.optimizer.lr": tune.choice([1e-2, 3e-3, 1e-3, 1e-4]),
    "stages.1.method.distance_weight": tune.choice([0.0, 1e-5, 1e-4, 1e-3, 1e-2]),
}
