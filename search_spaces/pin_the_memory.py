"""Pin the Memory's hyper-parameters: the weights of its losses, how fast the memory follows, and the look-ahead step.

    python jobs/pin_the_memory.py sweep search_spaces/pin_the_memory.py --only "Ours G+S V3+" --search optuna

The paper sets them "empirically" and sweeps none of them. A
range without a source is ours: about ten times either side of the published value.

| symbol of the paper | setting | range and its source |
|---|---|---|
| λ1, L_coh (Eq. 8) | `PinTheMemory.cohesion_weight` | 2e-3 to 0.2; published 0.02 |
| λ2, L_div (Eq. 8) | `PinTheMemory.divergence_weight` | 0.02 to 2; published 0.2 |
| m (Eq. 2) | `PinTheMemory.momentum` | 0.5 to 0.99; published 0.8 |
| α / β (Eq. 9, B.2) | `PinTheMemory.inner_lr` | 1/16 to 1 of the outer rate; published 1/4 |
"""

from ray import tune

SPACE = {
    "PinTheMemory.cohesion_weight": tune.loguniform(2e-3, 0.2),
    "PinTheMemory.divergence_weight": tune.loguniform(2e-2, 2.0),
    "PinTheMemory.momentum": tune.uniform(0.5, 0.99),
    "PinTheMemory.inner_lr": tune.loguniform(1 / 16, 1.0),
}
