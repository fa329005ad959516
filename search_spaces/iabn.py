"""IaBN's instance weight, in the steps in which self-adaptation chose it on WildDash (section 5.1, Figure 4).

    python jobs/self_adaptation.py sweep search_spaces/iabn.py --only "GTA DeepLabV1 R50" --search grid

A checkpoint that is trained already serves all trials. On the sources' own validation splits 0 tends to win, for the
running statistics were measured there; the paper takes a development domain.

| symbol of the paper | setting | range and its source |
|---|---|---|
| α (Eq. 4) | `IaBN.instance_weight` | 0 to 1 in steps of 0.1 (section 5.1); published 0.1, or 0.2 (GTA, ResNet-101) |
"""

from ray import tune

SPACE = {"IaBN.instance_weight": tune.choice([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])}
