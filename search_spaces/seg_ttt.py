"""Seg-TTT of self-adaptation: what normalises, how long and how fast it learns, from what, and which layers.

    python jobs/self_adaptation.py sweep search_spaces/seg_ttt.py --adaptation "SegTTT()" --only "GTA DeepLabV1 R50"

A checkpoint that is trained already serves all trials. The paper chose all of these on WildDash (section 4).

| symbol of the paper | setting | range and its source |
|---|---|---|
| α (Eq. 4) | `SegTTT.norm.instance_weight` | 0 to 0.5 in the steps of section 5.1; published 0.1 |
| N_t | `SegTTT.iterations` | 1 to 10 as in Figure 2, and 15; published 10 |
| ψ (Eq. 6) | `SegTTT.confidence` | 0.5 to 0.95, ours; published 0.7 |
| η | `SegTTT.learning_rate` | ten times either side of the published 0.05, ours |
| views (Eq. 5) | `SegTTT.views` | the rows of Table 6; published the last |
| layers | `SegTTT.layers` | groups of the encoder that learn beside the decoder: those of Figure 2; published 2 |
"""

from ray import tune

from raydg.adaptation import Views
from raydg.overview import code

# Table 6 has a row twice, which differs in what normalises; the last is the published one.
VIEWS = [code(views) for views in dict.fromkeys(Views.TABLE_6.values())]

SPACE = {
    "SegTTT.norm.instance_weight": tune.choice([0.0, 0.1, 0.2, 0.3, 0.4, 0.5]),
    "SegTTT.iterations": tune.choice([1, 2, 3, 5, 10, 15]),
    "SegTTT.confidence": tune.uniform(0.5, 0.95),
    "SegTTT.learning_rate": tune.loguniform(5e-3, 0.5),
    "SegTTT.views": tune.choice(VIEWS),
    "SegTTT.layers": tune.choice([0, 1, 2]),
}
