"""Methods x adaptations on the street world: four ways to train, each met in eight ways on three unseen weathers, by
three seeds, alone and together.

    make demo
    python jobs/adaptations.py train --workers 2
    python jobs/adaptations.py evaluate --workers 2

or, instead of the first line,

    raydg world street build/street
    raydg prepare street build/street

ERM and MLDG are the quickstart's trainings, name and settings alike, so that seed 0 of them is not trained again; Pin
the Memory and DeFT are theirs with another method. What is new is how the targets are met: as trained (t-BN), with
statistics of a batch (TN), of the whole target (AdaBN), of the image in part (IaBN), with views of the image that vote
(TTA), with steps on what they agree on (Seg-TTT) or on the prediction's entropy (Tent), the last three on IaBN. Another
row's instance weight is the one of 0 to 1 in steps of 0.1 that does best on the sources' validation splits: a
development domain would be validated on, and so make another training. Ensembles are of all three seeds.

**Settings for images of 128 x 256 on a CPU.** Views at half, three quarters and the whole of the size, each plain and
flipped and grey (the paper's smallest is a quarter, here 32 x 64, of which an output stride of 16 leaves 2 x 4).
Seg-TTT and Tent take 3 steps an image instead of the paper's 10; in Seg-TTT the decoder and the last two groups learn,
at the paper's rate of 0.05. The table says what an image took. No paper has this setting: there is no published number
to compare with.

What to expect: ERM on night (30 images), mIoU in percent, mean ± standard error of three seeds: t-BN 12.6 ± 0.5, TN
16.2 ± 0.5, AdaBN 16.3 ± 0.6, IaBN 15.3 ± 0.4, TTA 11.5 ± 0.2, Seg-TTT 14.6 ± 0.4, Tent 15.3 ± 0.4; ECE falls from 10.2
(t-BN) to 3.2 (IaBN). So IaBN beats t-BN, as in the paper; TTA does not beat IaBN (half of 128 x 256 may
leave a network of stride 16 too little to see), and Seg-TTT beats TTA but not IaBN. The sources choose an instance
weight of 0 or 0.1 and so throw the gain away. MLDG is half a point to a point below ERM in each of these (two seeds).
"""

from raydg.adaptation import TTA, AdaBN, Choice, IaBN, SegTTT, TargetNorm, Tent, TrainBN, Views
from raydg.augmentation import Augmentation, ColorJitter, HorizontalFlip, RandomScaleCrop
from raydg.domains.labels import CITYSCAPES_19
from raydg.experiment import Ensemble, Experiment, Stage, Study
from raydg.job import main
from raydg.methods import ERM, MLDG, DeFT, Method, PinTheMemory
from raydg.models import DeepLabV3Plus, SmallNet
from raydg.optimization import SGD, Poly
from raydg.plan import Sampling

IABN = IaBN(instance_weight=0.3)
VIEWS = Views(scales=(0.5, 0.75, 1.0), grey=False)  # training shows no grey image
VOTED = TTA(IABN, VIEWS)
WEIGHTS = tuple(IaBN(instance_weight=tenths / 10) for tenths in range(11))
SEEDS = (0, 1, 2)


def experiment(name: str, method: Method, seed: int, warmup_steps: int = 0) -> Experiment:
    """A run of 300 steps, of which the first may warm up the decoder; what trains is as in jobs/quickstart.py."""

    def stage(method: Method, steps: int) -> Stage:
        return Stage(method=method, optimizer=SGD(lr=0.05), schedule=Poly(), steps=steps)

    warmup = (stage(ERM(trains="decoder"), warmup_steps),) if warmup_steps else ()
    return Experiment(
        name=name,
        label_space=CITYSCAPES_19,
        sources=("street/noon", "street/dusk", "street/rain"),
        targets=("street/night", "street/fog", "street/snow"),
        model=DeepLabV3Plus(SmallNet(), aspp_channels=48, low_level_channels=16, decoder_channels=48),
        stages=(*warmup, stage(method, 300 - warmup_steps)),
        sampling=Sampling(images_per_domain=2, episodes_per_step=2),
        augmentation=Augmentation(
            (
                RandomScaleCrop(96, 96, scale_min=0.75, scale_max=1.5),
                HorizontalFlip(probability=0.5),
                ColorJitter(0.3, 0.3, 0.3, 0.05, probability=0.5),
            )
        ),
        adaptations=(
            TrainBN(),
            TargetNorm(batch_size=16),
            AdaBN(),
            IABN,
            VOTED,
            SegTTT(IABN, VIEWS, iterations=3),
            Tent(IABN, iterations=3),
        ),
        choices=(Choice(candidates=WEIGHTS, on="source-validation"),),
        validate_every=100,
        seed=seed,
    )


study = Study(
    name="adaptations",
    experiments=tuple(
        experiment(name, method, seed, warmup_steps)
        for name, method, warmup_steps in (
            ("ERM", ERM(), 0),
            ("MLDG", MLDG(inner_lr=0.01), 0),
            ("Pin the Memory", PinTheMemory(auxiliary_weight=0.0), 0),
            ("DeFT", DeFT(ema_rate=0.98), 100),
        )
        for seed in SEEDS
    ),
    ensembles=(Ensemble(size=len(SEEDS), adaptations=(TrainBN(), IABN, VOTED)),),
)

if __name__ == "__main__":
    main(study)
