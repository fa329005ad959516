"""Tent: how long and how fast BatchNorm's scale and shift learn, and what normalises meanwhile.

    python jobs/self_adaptation.py sweep search_spaces/tent.py --adaptation "Tent()" --only "GTA DeepLabV1 R50"

A checkpoint that is trained already serves all trials. Self-adaptation compares with 10 steps on each image and names
neither optimiser nor step size; Tent's own paper has 1e-3 for its small networks and 2.5e-4 for ResNet-50.

| symbol of the paper | setting | range and its source |
|---|---|---|
| step size | `Tent.learning_rate` | 1e-5 to 1e-2, ours, around Tent's 2.5e-4 and 1e-3 |
| N_t of the comparison (self-adaptation 5.3) | `Tent.iterations` | 1, 3 or 10; published 10 |
| (none) | `Tent.norm` | the image's own statistics, as in Tent, or IaBN |
"""

from ray import tune

SPACE = {
    "Tent.learning_rate": tune.loguniform(1e-5, 1e-2),
    "Tent.iterations": tune.choice([1, 3, 10]),
    "Tent.norm": tune.choice(["TargetNorm(batch_size=1)", "IaBN(0.1)", "IaBN(0.3)"]),
}
