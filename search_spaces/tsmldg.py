"""TSMLDG's hyper-parameters: the weights of both losses, the look-ahead step, and the split of the sources.

    python jobs/tsmldg.py sweep search_spaces/tsmldg.py --only "MLDG G+S+I" --search optuna --scheduler asha

A range without a source is ours: about ten times either side of the published value.

| symbol of the paper | setting | range and its source |
|---|---|---|
| α on L_ds (Eq. 6) | `MLDG.meta_train_weight` | 0.1 to 10, as DomainBed draws MLDG's weight; published 1 |
| α on L_dg (Algorithm 1, line 7) | `MLDG.meta_test_weight` | likewise |
| η (Eq. 4) | `MLDG.inner_lr` | 1e-4 to 0.1; published 1e-3 |
| n of n:m (Table 4) | `MLDG.num_meta_train` | drawn, 1 or 2, which three sources allow; Table 4 splits four |
"""

from ray import tune

SPACE = {
    "MLDG.meta_train_weight": tune.loguniform(0.1, 10.0),
    "MLDG.meta_test_weight": tune.loguniform(0.1, 10.0),
    "MLDG.inner_lr": tune.loguniform(1e-4, 1e-1),
    "MLDG.num_meta_train": tune.choice([None, 1, 2]),
}
