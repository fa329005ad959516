"""Quickstart: ERM and MLDG on the street world, judged on a weather that nobody showed them.

    make demo

or, step by step,

    raydg world street build/street
    raydg prepare street build/street
    python jobs/quickstart.py train
    python jobs/quickstart.py evaluate

A small DeepLabV3+ (from scratch) learns three domains of the procedural street world and meets a fourth as it was
trained (t-BN), with its own batch's statistics (TN) and with its own image's share in them (IaBN). It shows the whole
road, from images to the table, in minutes on two cores; it reproduces no paper's number.
"""

from raydg.adaptation import IaBN, TargetNorm, TrainBN
from raydg.augmentation import Augmentation, ColorJitter, HorizontalFlip, RandomScaleCrop
from raydg.domains.labels import CITYSCAPES_19
from raydg.experiment import Experiment, Stage, Study
from raydg.job import main
from raydg.methods import ERM, MLDG, Method
from raydg.models import DeepLabV3Plus, SmallNet
from raydg.optimization import SGD, Poly
from raydg.plan import Sampling
from raydg.resources import Resources


def experiment(name: str, method: Method, seed: int) -> Experiment:
    return Experiment(
        name=name,
        label_space=CITYSCAPES_19,
        sources=("street/noon", "street/dusk", "street/rain"),
        targets=("street/night",),
        model=DeepLabV3Plus(SmallNet(), aspp_channels=48, low_level_channels=16, decoder_channels=48),
        stages=(Stage(method=method, optimizer=SGD(lr=0.05), schedule=Poly(), steps=300),),
        sampling=Sampling(images_per_domain=2, episodes_per_step=2),
        augmentation=Augmentation(
            (
                RandomScaleCrop(96, 96, scale_min=0.75, scale_max=1.5),
                HorizontalFlip(probability=0.5),
                ColorJitter(0.3, 0.3, 0.3, 0.05, probability=0.5),
            )
        ),
        adaptations=(TrainBN(), TargetNorm(batch_size=16), IaBN(instance_weight=0.3)),
        validate_every=100,
        seed=seed,
    )


METHODS = {"ERM": ERM(), "MLDG": MLDG(inner_lr=0.01)}

study = Study(
    name="quickstart", experiments=tuple(experiment(name, method, seed=0) for name, method in METHODS.items())
)

if __name__ == "__main__":
    main(study, Resources(workers=2))
