"""Test-time augmentation: which views vote, on which normalisation.

    python jobs/self_adaptation.py sweep search_spaces/tta.py --adaptation "TTA()" --only "GTA HRNet-W18" --search grid

A checkpoint that is trained already serves all trials.

| symbol of the paper | setting | range and its source |
|---|---|---|
| views (self-adaptation, Eq. 5) | `TTA.views` | the rows of its Table 6; published the last |
| α (self-adaptation, Eq. 4) | `TTA.norm` | t-BN, or IaBN by the steps of section 5.1 around the published 0.1 |
"""

from ray import tune

from raydg.adaptation import Views
from raydg.overview import code

# Table 6 has a row twice, which differs in what normalises; the last is the published one.
VIEWS = [code(views) for views in dict.fromkeys(Views.TABLE_6.values())]

SPACE = {
    "TTA.views": tune.choice(VIEWS),
    "TTA.norm": tune.choice(["TrainBN()", "IaBN(0.1)", "IaBN(0.2)", "IaBN(0.3)"]),
}
