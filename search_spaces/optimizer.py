"""What every method has: learning rates and weight decay.

    python jobs/pacs.py sweep search_spaces/optimizer.py --only "ERM 128 px" --targets pacs/photo --search optuna

The five papers have SGD from 1e-3 to 1e-2 with a weight decay of 1e-5 to 5e-3, on pretrained networks, and Adam at
1e-4. Narrow the range for an optimiser of your choice: `search_spaces/` holds plain files.

| symbol of the paper | setting | range and its source |
|---|---|---|
| γ (TSMLDG), β (Pin), lr_0 (DMG) | `Optimizer.lr` | 1e-4 to 0.1: the papers' smallest to ten times their largest |
| (none) | `Optimizer.decoder_lr_factor` | 1, or 10 as is usual for a new head on a pretrained encoder |
| weight decay | `Optimizer.weight_decay` | 1e-6 to 1e-2, DomainBed's |
"""

from ray import tune

SPACE = {
    "Optimizer.lr": tune.loguniform(1e-4, 1e-1),
    "Optimizer.decoder_lr_factor": tune.choice([1.0, 10.0]),
    "Optimizer.weight_decay": tune.loguniform(1e-6, 1e-2),
}
