"""IRMv1: the weight of the penalty.

    python jobs/pacs.py sweep search_spaces/irm.py --only "IRM 128 px"

| symbol of the paper | setting | range and its source |
|---|---|---|
| λ (IRM, section 3) | `IRM.penalty_weight` | 0.1 to 1e5, DomainBed's |
"""

from ray import tune

SPACE = {"IRM.penalty_weight": tune.loguniform(1e-1, 1e5)}
