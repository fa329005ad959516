"""CORAL: the weight of the alignment.

No job that ships has the method; put it into a stage of yours.

| symbol of the paper | setting | range and its source |
|---|---|---|
| γ (DomainBed) | `CORAL.penalty_weight` | 0.1 to 10, DomainBed's |
"""

from ray import tune

SPACE = {"CORAL.penalty_weight": tune.loguniform(1e-1, 10.0)}
