"""IRMv1: the weight of the penalty.

No job that ships has the method; put it into a stage of yours.

| symbol of the paper | setting | range and its source |
|---|---|---|
| λ (IRM, section 3) | `IRM.penalty_weight` | 0.1 to 1e5, DomainBed's |
"""

from ray import tune

SPACE = {"IRM.penalty_weight": tune.loguniform(1e-1, 1e5)}
