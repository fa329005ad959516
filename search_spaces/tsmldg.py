"""TSMLDG's hyper-parameters: the weights of both losses, the look-ahead step, and the split of the sources.

| symbol of the paper | setting |
|---|---|
| α on L_ds (Eq. 6) | MLDG.meta_train_weight |
| α on L_dg (Algorithm 1, line 7) | MLDG.meta_test_weight |
| η | MLDG.inner_lr |
| n of n:m (Table 4) | MLDG.num_meta_train |

Keys are class and field, as on a job's command line; values are domains of ray.tune.
"""

from ray import tune

SPACE = {
    "MLDG.meta_train_weight": tune.loguniform(0.1, 10.0),
    "MLDG.meta_test_weight": tune.loguniform(0.1, 10.0),
    "MLDG.inner_lr": tune.loguniform(1e-4, 1e-1),
    "MLDG.num_meta_train": tune.choice([None, 1]),
}
