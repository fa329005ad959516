"""DeFT: how slowly the averages follow, the distance regularisation, how long the decoder is warmed up, and the
learning rate after it.

    python jobs/deft.py sweep search_spaces/deft.py --only "DeFT G R50" --criterion source-validation

Trials with the same warm-up share it: it is trained once.

| symbol of the paper | setting | range and its source |
|---|---|---|
| β (Eq. 2) | `DeFT.ema_rate` | 0.99 to 0.9999, the ends and the middle of Table 8; published 0.9999 |
| α (Eq. 3) | `DeFT.distance_weight` | 0 and 1e-5 to 1e-2, ours: the paper does not say what it used |
| warm-up (section 4) | `stages.0.steps` | 2,000 (Cityscapes) to 8,000 (GTAV) |
| learning rate (Table 2) | `stages.1.optimizer.lr` | Table 2's, for joint finetuning; published 1e-2 |
"""

from ray import tune

SPACE = {
    "DeFT.ema_rate": tune.choice([0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999]),
    "DeFT.distance_weight": tune.choice([0.0, 1e-5, 1e-4, 1e-3, 1e-2]),
    "stages.0.steps": tune.choice([2000, 4000, 8000]),
    "stages.1.optimizer.lr": tune.choice([1e-2, 3e-3, 1e-3, 1e-4]),
}
