"""Real streets in the 7 classes of IDD's first level: CamVid and IDD-Lite train, Cityscapes, KITTI and CARLA are
unseen.

    raydg prepare camvid FOLDER --label-space idd_level1
    raydg prepare idd_lite FOLDER --label-space idd_level1
    raydg prepare cityscapes FOLDER --label-space idd_level1 --splits train
    raydg prepare kitti FOLDER --label-space idd_level1
    raydg prepare carla FOLDER --label-space idd_level1
    python jobs/streets7.py train --workers 2
    python jobs/streets7.py evaluate --workers 2

A multi-domain segmentation run on real photographs that fits a CPU: a small DeepLabV3+ from scratch on crops. No paper
has this setting, so there is no published number; with the few target images of a sample (8, 5 and 3 in the set that
it was tried on) the scores say that the road is open, not which method is better.

Targets are met as trained (t-BN), with statistics of a batch of 4 (TN), of the whole target (AdaBN), of the image in
part (IaBN), with views that vote (TTA), with 3 steps on what they agree on (Seg-TTT) or on the entropy (Tent), the last
three on IaBN. The paper's views are a quarter to three quarters of images of 1024 x 2048; of ours, 256 x 512, half to
the whole, and never grey, which training does not show. `--seeds 0 1 2` gives three seeds, and then the three of a
method predict together, too.

What to expect: mIoU in percent over Cityscapes, KITTI and CARLA (8, 5 and 3 images), mean ± standard error of three
seeds:

| | t-BN | TN | AdaBN | IaBN | TTA | Seg-TTT | Tent |
|---|---|---|---|---|---|---|---|
| ERM | 27.0 ± 0.5 | 22.6 ± 0.3 | 22.1 ± 0.2 | 27.0 ± 0.4 | 28.4 ± 0.3 | 27.9 ± 0.2 | 27.0 ± 0.4 |
| MLDG | 27.9 ± 2.2 | 25.1 ± 0.8 | 25.0 ± 0.8 | 27.3 ± 1.2 | 28.3 ± 1.1 | 27.8 ± 1.3 | 27.3 ± 1.2 |
| Pin | 25.6 ± 0.6 | 23.8 ± 0.3 | 23.6 ± 0.3 | 26.3 ± 0.8 | 28.4 ± 0.8 | 27.6 ± 0.7 | 26.3 ± 0.8 |
| DeFT | 25.9 ± 0.4 | 21.7 ± 0.1 | 21.2 ± 0.2 | 25.8 ± 0.2 | 27.3 ± 0.2 | 26.9 ± 0.1 | 25.8 ± 0.2 |

IaBN helps on Cityscapes (+1.4 to +2.6) and, but for MLDG, on CARLA, costs on KITTI (-1.4 to -4.0), and so is level with
t-BN in the mean. TTA beats IaBN by 1.0 to 2.1; Seg-TTT beats IaBN by 0.5 to 1.3, not TTA. Statistics of four images
(TN) or of the few that a target has (AdaBN) are too few here. No method is better than ERM by more than its error.

The three seeds together, t-BN / IaBN / TTA: ERM 28.6 / 27.9 / 28.9, MLDG 28.4 / 28.2 / 28.8, Pin 26.6 / 27.4 / 28.7,
DeFT 27.6 / 26.6 / 27.7. Each is 0.3 to 1.7 above the mean of its members; a single group has no ±.
"""

from raydg.adaptation import TTA, AdaBN, IaBN, SegTTT, TargetNorm, Tent, TrainBN, Views
from raydg.augmentation import Augmentation, ColorJitter, GaussianBlur, HorizontalFlip, RandomScaleCrop
from raydg.domains.labels import IDD_LEVEL1
from raydg.experiment import Ensemble, Experiment, Stage, Study
from raydg.job import main
from raydg.methods import ERM, MLDG, DeFT, Method, PinTheMemory
from raydg.models import DeepLabV3Plus, SmallNet
from raydg.optimization import SGD, Poly
from raydg.plan import Sampling

IABN = IaBN(instance_weight=0.3)
VIEWS = Views(scales=(0.5, 0.75, 1.0), grey=False)  # training shows no grey image
VOTED = TTA(IABN, VIEWS)


def experiment(name: str, method: Method, seed: int, warmup_steps: int = 0) -> Experiment:
    """A run of 300 steps, of which the first may warm up the decoder."""

    def stage(method: Method, steps: int) -> Stage:
        return Stage(method=method, optimizer=SGD(lr=0.05), schedule=Poly(), steps=steps)

    warmup = (stage(ERM(trains="decoder"), warmup_steps),) if warmup_steps else ()
    return Experiment(
        name=name,
        label_space=IDD_LEVEL1,
        sources=("camvid", "idd_lite"),
        targets=("cityscapes", "kitti", "carla"),
        model=DeepLabV3Plus(SmallNet(), aspp_channels=48, low_level_channels=16, decoder_channels=48),
        stages=(*warmup, stage(method, 300 - warmup_steps)),
        sampling=Sampling(images_per_domain=3, episodes_per_step=2),
        augmentation=Augmentation(
            (
                RandomScaleCrop(128, 128, scale_min=0.5, scale_max=1.5),
                HorizontalFlip(probability=0.5),
                ColorJitter(0.4, 0.4, 0.4, 0.1, probability=0.8),
                GaussianBlur(0.1, 1.0, probability=0.5),
            )
        ),
        adaptations=(
            TrainBN(),
            TargetNorm(batch_size=4),
            AdaBN(batch_size=4),
            IABN,
            VOTED,
            SegTTT(IABN, VIEWS, iterations=3),
            Tent(IABN, iterations=3),
        ),
        evaluation_size=(256, 512),
        validate_every=100,
        seed=seed,
    )


study = Study(
    name="streets7",
    experiments=(
        experiment("ERM", ERM(), seed=0),
        experiment("MLDG", MLDG(inner_lr=0.01), seed=0),
        experiment("Pin the Memory", PinTheMemory(auxiliary_weight=0.0), seed=0),
        experiment("DeFT", DeFT(ema_rate=0.98), seed=0, warmup_steps=100),
    ),
    ensembles=(Ensemble(size=3, adaptations=(TrainBN(), IABN, VOTED)),),
)

if __name__ == "__main__":
    main(study)
