"""V-REx: the weight of the variance of the sources' risks.

    python jobs/pacs.py sweep search_spaces/vrex.py --only "VREx 128 px"

| symbol of the paper | setting | range and its source |
|---|---|---|
| β (V-REx, Eq. 8) | `VREx.variance_weight` | 0.1 to 1e5, DomainBed's |
"""

from ray import tune

SPACE = {"VREx.variance_weight": tune.loguniform(1e-1, 1e5)}
