"""CORAL: the weight of the alignment.

    python jobs/pacs.py sweep search_spaces/coral.py --only "CORAL 128 px"

| symbol of the paper | setting | range and its source |
|---|---|---|
| γ (DomainBed) | `CORAL.penalty_weight` | 0.1 to 10, DomainBed's |
"""

from ray import tune

SPACE = {"CORAL.penalty_weight": tune.loguniform(1e-1, 10.0)}
