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
the whole. `--seeds 0 1 2` gives three seeds, and then the three of a method predict together, too.
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
