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
"""

from raydg.adaptation import IaBN, TargetNorm, TrainBN
from raydg.augmentation import Augmentation, ColorJitter, GaussianBlur, HorizontalFlip, RandomScaleCrop
from raydg.domains.labels import IDD_LEVEL1
from raydg.experiment import Experiment, Stage, Study
from raydg.job import main
from raydg.methods import ERM, MLDG, DeFT, Method, PinTheMemory
from raydg.models import DeepLabV3Plus, SmallNet
from raydg.optimization import SGD, Poly
from raydg.plan import Sampling


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
        adaptations=(TrainBN(), TargetNorm(batch_size=4), IaBN(instance_weight=0.3)),
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
)

if __name__ == "__main__":
    main(study)
