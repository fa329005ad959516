"""Group DRO: how fast the sources' weights follow their risks.

    python jobs/pacs.py sweep search_spaces/group_dro.py --only "GroupDRO 128 px"

| symbol of the paper | setting | range and its source |
|---|---|---|
| η_q (Group DRO, Algorithm 1) | `GroupDRO.step_size` | 1e-3 to 0.1, DomainBed's |
"""

from ray import tune

SPACE = {"GroupDRO.step_size": tune.loguniform(1e-3, 1e-1)}
