"""An experiment is checked when it is built, travels as JSON, and every field of it can be set by name."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import pytest

from raydg.adaptation import SHOT, T3A, AdaBN, Choice, CoTTA, IaBN, MCDropout, TargetNorm, TrainBN
from raydg.augmentation import Augmentation, Grayscale, HorizontalFlip, RandomScaleCrop, Resize
from raydg.domains.labels import IDD_LEVEL1, PACS_7
from raydg.experiment import Ensemble, Experiment, Stage, Study
from raydg.methods import DMG, ERM, MLDG, KnownDomain, MaskEns, OneMask, Plain, PredEns, WeightedPredEns
from raydg.models import Classifier, DeepLabV3Plus, SmallNet, SqueezeNet
from raydg.optimization import SGD, AdamW, Cosine, Exponential, Poly
from raydg.plan import Sampling
from raydg.protocol import Capped, CenterCrop, Resized, WholeImage
from raydg.resources import Resources
from raydg.settings import override, override_study, settings
from raydg.values import Value, decode, encode

WARM_UP = Stage(
    method=ERM(trains="decoder"), optimizer=AdamW(1e-3), schedule=Cosine(warmup_steps=2), steps=4, clip_norm=1.0
)
META = Stage(
    method=MLDG(inner_lr=0.01, second_order=True), optimizer=SGD(lr=0.1), schedule=Exponential(horizon=100), steps=6
)
EXPERIMENT = Experiment(
    name="warm up, then MLDG",
    label_space=IDD_LEVEL1,
    sources=("camvid", "idd", "camvid"),
    targets=("cityscapes", "kitti"),
    development="wilddash",
    model=DeepLabV3Plus(SmallNet(width=4), aspp_channels=8, low_level_channels=4, decoder_channels=8),
    stages=(WARM_UP, META),
    sampling=Sampling(images_per_domain=2, episodes_per_step=5, balance="class-uniform"),
    augmentation=Augmentation(
        (RandomScaleCrop(32, 64), HorizontalFlip(probability=0.5)),
        meta_test=(Resize(32, 64), Grayscale(probability=1.0)),
    ),
    adaptations=(TrainBN(), TargetNorm(batch_size=4, orders=2), IaBN(0.3)),
    evaluation_size=(64, 128),
    selection="development",
    validate_every=5,
    seed=3,
)
PLAIN = replace(EXPERIMENT, name="ERM", stages=(Stage(method=ERM(), optimizer=SGD(lr=0.1), steps=10),))
MLDG_ALONE = replace(EXPERIMENT, name="MLDG", stages=(META,))
STUDY = Study(name="both", experiments=(PLAIN, MLDG_ALONE))
MIXED = Choice(candidates=(TrainBN(), AdaBN()))
CHOICE = Choice(candidates=(IaBN(0.0), IaBN(0.5), IaBN(1.0)))


def test_choices_judge_and_are_no_settings() -> None:
    chosen = replace(EXPERIMENT, choices=(CHOICE,))
    assert chosen.training_fingerprint() == EXPERIMENT.training_fingerprint()
    assert decode(Experiment, json.loads(json.dumps(encode(chosen)))) == chosen
    assert chosen.sees == {
        "t-BN": "one image", TargetNorm(4).label: "a batch", IaBN(0.3).label: "one image", CHOICE.label: "one image",
    }  # fmt: skip
    # The one that is scored is set by its class still; whether a choice is joint is a setting, its candidates are not.
    assert override(chosen, "IaBN.instance_weight", 0.2).adaptations[-1] == IaBN(0.2)
    assert override(chosen, "Choice.jointly", "true").choices == (replace(CHOICE, jointly=True),)


def test_seeds_make_disjoint_ensembles_in_rising_order() -> None:
    fold = replace(PLAIN, sources=("camvid", "idd"), targets=("carla",))
    seeds = (*(replace(PLAIN, seed=seed) for seed in (7, 1, 5, 2, 9)), replace(fold, seed=4), MLDG_ALONE)
    study = Study(name="s", experiments=seeds, ensembles=(Ensemble(size=2), Ensemble(size=1)))
    found = [[(e.name, e.targets, e.seed) for e in group] for group in Ensemble(size=2).groups(study.experiments)]
    own = PLAIN.name, PLAIN.targets
    assert found == [[(*own, 1), (*own, 2)], [(*own, 5), (*own, 7)]]
    assert [len(group) for group in Ensemble(size=1).groups(study.experiments)] == [1] * 7
    assert Ensemble(size=6).groups(study.experiments) == []
    given = Ensemble(size=5, adaptations=(TrainBN(),))
    (group,) = given.groups([replace(experiment, choices=(CHOICE,)) for experiment in seeds])
    assert {(e.adaptations, e.choices) for e in group} == {((TrainBN(),), ())}
    assert given.called(PLAIN) == "ERM, ensemble of 5"
    assert decode(Study, json.loads(json.dumps(encode(study)))) == study
    assert study.with_seeds((3,)).ensembles == study.ensembles


def test_json_text_rebuilds_the_same_experiment_with_every_class_it_was_made_of() -> None:
    rebuilt = decode(Experiment, json.loads(json.dumps(encode(EXPERIMENT))))
    assert rebuilt == EXPERIMENT
    assert [type(stage.method) for stage in rebuilt.stages] == [ERM, MLDG]
    assert [type(stage.optimizer) for stage in rebuilt.stages] == [AdamW, SGD]
    assert [type(stage.schedule) for stage in rebuilt.stages] == [Cosine, Exponential]
    assert [type(adaptation) for adaptation in rebuilt.adaptations] == [TrainBN, TargetNorm, IaBN]
    assert [type(transform) for transform in rebuilt.augmentation.meta_test or ()] == [Resize, Grayscale]


def test_json_text_rebuilds_the_same_study() -> None:
    assert decode(Study, json.loads(json.dumps(encode(STUDY)))) == STUDY


def test_fingerprints_are_equal_in_a_process_with_other_hashes() -> None:
    code = (
        "import json, sys; from raydg.experiment import Experiment; from raydg.values import decode\n"
        "experiment = decode(Experiment, json.load(sys.stdin))\n"
        "print(experiment.fingerprint(), experiment.training_fingerprint(), experiment.fold('augment', 7))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(encode(EXPERIMENT)),
        env=os.environ | {"PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    own = [EXPERIMENT.fingerprint(), EXPERIMENT.training_fingerprint(), str(EXPERIMENT.fold("augment", 7))]
    assert printed == own


def test_targets_are_shown_as_in_validation_unless_a_protocol_says_otherwise() -> None:
    assert EXPERIMENT.validation_protocol == EXPERIMENT.scored_protocol == Resized(64, 128)
    assert replace(EXPERIMENT, evaluation_size=None).scored_protocol == WholeImage()
    cropped = replace(EXPERIMENT, protocol=CenterCrop(32))
    assert (cropped.validation_protocol, cropped.scored_protocol) == (Resized(64, 128), CenterCrop(32))
    assert decode(Experiment, json.loads(json.dumps(encode(cropped)))) == cropped
    assert override(cropped, "CenterCrop.size_px", "16").protocol == CenterCrop(16)


def test_how_an_experiment_runs_is_no_part_of_it() -> None:
    inside = {setting.path.rpartition(".")[2] for setting in settings(EXPERIMENT)}
    assert not inside & {field.name for field in fields(Resources)}


@pytest.mark.parametrize(
    "change",
    [
        {"name": "another"},
        {"targets": ("carla",)},
        {"target_splits": ("val",)},
        {"adaptations": (TrainBN(),)},
        {"selection": "last"},
        {"scored_classes": ("sky", "drivable")},
        {"keep_checkpoints": 2},
        {"inferences": (Plain(),)},
        {"in_domain_splits": ("val",)},
        {"protocol": CenterCrop(32)},
    ],
)
def test_what_only_judges_leaves_the_training_as_it_is(change: dict[str, Any]) -> None:
    changed = replace(EXPERIMENT, **change)
    assert changed.training_fingerprint() == EXPERIMENT.training_fingerprint()
    assert changed.fingerprint() != EXPERIMENT.fingerprint()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"stages": (WARM_UP, replace(META, method=MLDG(inner_lr=0.02, second_order=True)))},
        {"augmentation": Augmentation((RandomScaleCrop(32, 64),))},
        {"sources": ("idd", "camvid", "camvid")},
        {"precision": "float64"},
        {"evaluation_size": None},  # validation scores follow from it
    ],
)
def test_what_decides_weights_or_validation_scores_makes_another_training(change: dict[str, Any]) -> None:
    changed = replace(EXPERIMENT, **change)
    assert changed.training_fingerprint() != EXPERIMENT.training_fingerprint()
    assert changed.fingerprint() != EXPERIMENT.fingerprint()


SQUEEZENET = {"label_space": PACS_7, "model": Classifier(SqueezeNet("1.1"))}
PROPORTIONAL = Sampling(2, balance="proportional")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": ("idd", "kitti")}, "'kitti' is a source and a target: an unseen domain must not train"),
        ({"development": "kitti"}, "'kitti' is the development domain and a target.* drop it from the targets"),
        ({"development": "idd"}, "'idd' is the development domain and a source: take another one"),
        ({"development": None}, "selection is 'development' but no development domain is named"),
        ({"sources": ("idd",)}, "MLDG needs at least 2 source domains, it has 1.* list it twice"),
        (
            {"stages": (replace(META, method=MLDG(num_meta_train=3)),)},
            r"MLDG\.num_meta_train is 3: it must be None or 1 to 2 with 3 source domains",
        ),
        ({"sampling": PROPORTIONAL}, "'proportional': an episode may then lack a domain, and MLDG needs all of them"),
        (
            {**SQUEEZENET, "adaptations": (IaBN(0.1),)},
            r"IaBN\(instance_weight=0.1\) replaces BatchNorm statistics, and SqueezeNet has no BatchNorm",
        ),
        ({**SQUEEZENET, "adaptations": (TargetNorm(),)}, r"TN\(batch_size=16\) .* SqueezeNet has no BatchNorm"),
        (
            {"adaptations": (T3A(),)},
            r"T3A\(.*\) is for classification, and DeepLabV3Plus is for segmentation",
        ),
        ({**SQUEEZENET, "adaptations": (T3A(),)}, "adaptations: T3A needs a classifier that ends in a linear layer"),
        ({**SQUEEZENET, "adaptations": (SHOT(),)}, "adaptations: SHOT needs a classifier that ends in a linear layer"),
        ({"adaptations": (MCDropout(),)}, r"adaptations: MC-Dropout\(.* needs dropout layers, and Network has none"),
        (
            {"adaptations": (CoTTA(),), "stages": (replace(META, method=DMG()),)},
            "adaptations: CoTTA works on the parts of one raydg Network, and MaskedEnsemble .*an ensemble averages",
        ),
        (
            {**SQUEEZENET, "adaptations": (TrainBN(),), "evaluation_size": None},
            "evaluation_size is None: a classifier needs the height and width",
        ),
        (
            {**SQUEEZENET, "adaptations": (TrainBN(),), "protocol": Capped()},
            "protocol is Capped: a classifier needs images of one size.* None or one of CenterCrop, Resized, Square",
        ),
        ({"label_space": PACS_7}, "model is for segmentation, but the label space 'pacs7' is for classification"),
        ({"name": "a/b"}, r"Experiment\.name is 'a/b': it must be a word or two without a slash"),
        ({"name": ""}, r"Experiment\.name is ''"),
        ({"sources": ()}, r"Experiment\.sources is \(\): it must be at least one domain"),
        ({"stages": ()}, r"Experiment\.stages is \(\): it must be at least one stage"),
        (
            {"targets": ("kitti", "kitti")},
            r"Experiment\.targets is \('kitti', 'kitti'\): it must be domains that differ",
        ),
        ({"adaptations": ()}, r"Experiment\.adaptations is \(\): it must be at least one; TrainBN\(\)"),
        ({"adaptations": (TrainBN(), TrainBN())}, "it must be adaptations with labels that differ"),
        # Tables and rows tell adaptations apart by their labels, which leave the number of orders out.
        ({"adaptations": (TargetNorm(4, orders=2), TargetNorm(4, orders=3))}, "adaptations with labels that differ"),
        ({"choices": (CHOICE, CHOICE)}, "adaptations with labels that differ, choices included"),
        (
            {"choices": (CHOICE,), "development": None, "selection": "last"},
            "'IaBN, .*' needs a development domain and none",
        ),
        (
            {"choices": (replace(CHOICE, jointly=True),), "keep_checkpoints": 3},
            r"keep_checkpoints is 3, and 'IaBN, .*' scores every checkpoint: it must be None",
        ),
        ({**SQUEEZENET, "adaptations": (TrainBN(),), "choices": (CHOICE,)}, "IaBN.* SqueezeNet has no BatchNorm"),
        ({"evaluation_size": (0, 64)}, r"Experiment\.evaluation_size is \(0, 64\): it must be None or 1 or more"),
        ({"validate_every": 0}, r"Experiment\.validate_every is 0: it must be None or 1 or more"),
        ({"keep_checkpoints": 0}, r"Experiment\.keep_checkpoints is 0: it must be None or 1 or more"),
        (
            {"stages": (replace(META, method=DMG(sites=("fc",))),)},
            r"DMG\.sites names fc: the network has before_block2, before_block3, context",
        ),
        ({"scored_classes": ()}, r"Experiment\.scored_classes is \(\): it must be None or some of .*, each once"),
        ({"scored_classes": ("moon",)}, r"Experiment\.scored_classes is \('moon',\)"),
        ({"inferences": ()}, r"Experiment\.inferences is \(\): it must be None or at least one"),
        ({"inferences": (Plain(), Plain())}, "it must be inferences with labels that differ"),
        ({"inferences": (PredEns(),)}, "PredEns does not fit MLDG, which can be evaluated by Plain"),
        ({"in_domain_splits": ()}, r"in_domain_splits is \(\): it must be None or splits that differ"),
        ({"in_domain_splits": ("val", "val")}, "it must be None or splits that differ"),
        ({"in_domain_splits": ("val", "train")}, "'train' is what the sources train on"),
        ({"seed": "three"}, r"Experiment\.seed is 'three' \(str\): it must be int"),
        ({"selection": "best"}, "is 'best': it must be one of 'source-validation', 'development', 'last'"),
    ],
)
def test_a_bad_experiment_is_refused_with_what_to_do(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(EXPERIMENT, **change)


MASKED = replace(EXPERIMENT, name="DMG", stages=(WARM_UP, replace(META, method=DMG())))


def test_inferences_are_of_the_last_stages_method_and_travel_as_json() -> None:
    assert EXPERIMENT.scored_inferences == (Plain(),) and MASKED.scored_inferences == (PredEns(),)
    ways = (MaskEns(), OneMask(source="camvid:2"), KnownDomain())
    changed = replace(MASKED, inferences=ways, in_domain_splits=("val",))
    assert changed.scored_inferences == ways
    assert decode(Experiment, json.loads(json.dumps(encode(changed)))) == changed
    assert decode(Experiment, json.loads(json.dumps(encode(MASKED)))) == MASKED


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inferences": (OneMask(source="kitti"),)}, r"'kitti': it must be one of the sources camvid, idd, camvid:2"),
        ({"inferences": (WeightedPredEns(),)}, r"DMG\.domain_classifier is False: train with it, or take PredEns"),
        (
            {"inferences": (KnownDomain(),)},
            r"KnownDomain predicts on sources only, .*in_domain_splits",
        ),
        ({"inferences": (Plain(),)}, "Plain does not fit DMG, which can be evaluated by PredEns, MaskEns"),
    ],
)
def test_an_inference_that_the_training_does_not_allow_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(MASKED, **change)


def test_results_begin_with_the_last_stage() -> None:
    assert EXPERIMENT.result_after == 4 and PLAIN.result_after == 0
    assert EXPERIMENT.result_steps == PLAIN.result_steps == (5, 10)
    assert replace(EXPERIMENT, validate_every=2).result_steps == (6, 8, 10)
    assert replace(EXPERIMENT, validate_every=4).result_steps == (8, 10)
    assert replace(EXPERIMENT, validate_every=None).result_steps == (10,)


def test_train_bn_fits_a_network_without_batchnorm() -> None:
    change: dict[str, Any] = {**SQUEEZENET, "adaptations": (TrainBN(),), "evaluation_size": (64, 64)}
    assert replace(EXPERIMENT, **change).model.normalisation == "none"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(META, steps=0), r"Stage\.steps is 0: it must be 1 or more"),
        (lambda: replace(META, clip_norm=0.0), r"Stage\.clip_norm is 0\.0: it must be None or above 0"),
        (lambda: replace(META, schedule=Poly(horizon=5)), r"Poly\.horizon is 5: it must be at least 6"),
        (lambda: replace(META, schedule=Poly(warmup_steps=7)), r"Poly\.warmup_steps is 7: it must be at most 6"),
        (lambda: Study(name="s", experiments=()), r"Study\.experiments is \(\): it must be at least one experiment"),
        (lambda: Study(name="a/b", experiments=(PLAIN,)), r"Study\.name is 'a/b'"),
        (lambda: Ensemble(size=0), r"Ensemble\.size is 0: it must be 1 or more"),
        (lambda: Ensemble(size=2, adaptations=()), r"Ensemble\.adaptations is \(\): it must be None or at least one"),
        (
            lambda: Study(name="s", experiments=(PLAIN,), ensembles=(Ensemble(size=2),) * 2),
            "it must be ensembles of sizes that differ",
        ),
        (
            lambda: Study(name="s", experiments=(replace(PLAIN, choices=(MIXED,)),), ensembles=(Ensemble(size=2),)),
            "'ERM, ensemble of 2' may choose candidates of 't-BN or AdaBN .*' that meet images in different batches",
        ),
        (lambda: Study(name="s", experiments=(PLAIN, PLAIN)), "'s' holds 'ERM' with seed 3 twice"),
    ],
)
def test_a_bad_stage_or_study_is_refused(make: Callable[[], Value], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_experiments_that_one_cell_of_a_table_would_mix_are_refused() -> None:
    message = "different experiments called 'ERM' on 'kitti'"
    other = replace(PLAIN, stages=(replace(PLAIN.stages[0], steps=20),), targets=("kitti",))
    for seed in (3, 4):
        with pytest.raises(ValueError, match=message):
            Study(name="s", experiments=(PLAIN, replace(other, seed=seed)))
    Study(name="s", experiments=(PLAIN, replace(other, targets=("carla",))))  # another fold
    Study(name="s", experiments=(PLAIN, replace(PLAIN, seed=4)))  # another seed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sead": 1}, "Experiment has no field 'sead'; perhaps you meant 'seed'"),
        ({"seed": 1.5}, r"Experiment\.seed is 1\.5 \(float\): it must be int"),
        ({"adaptations": [{"class": "ERM"}]}, r"Experiment\.adaptations\[0\]: no known Adaptation is called 'ERM'"),
    ],
)
def test_json_that_is_no_experiment_is_refused_where_it_is_wrong(change: dict[str, Any], message: str) -> None:
    data = encode(EXPERIMENT)
    assert isinstance(data, dict)
    with pytest.raises(ValueError, match=message):
        decode(Experiment, data | change)


def paths(data: Any, at: str) -> Iterator[str]:
    """Path of every field in the JSON of a value."""
    if isinstance(data, dict):
        for name in data.keys() - {"class"}:
            here = f"{at}.{name}" if at else name
            yield here
            yield from paths(data[name], here)
    elif isinstance(data, list):
        for number, element in enumerate(data):
            yield from paths(element, f"{at}.{number}")


def test_settings_lists_every_field_once_but_not_the_classes_of_the_data() -> None:
    wanted = [path for path in paths(encode(EXPERIMENT), "") if not path.startswith("label_space.")]
    assert sorted(setting.path for setting in settings(EXPERIMENT)) == sorted(wanted)


def at_path(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = value[int(part)] if part.isdigit() else getattr(value, part)
    return value


@pytest.mark.parametrize(
    ("key", "path", "value"),
    [
        ("stages.1.method.inner_lr", "stages.1.method.inner_lr", 0.5),
        ("MLDG.inner_lr", "stages.1.method.inner_lr", 0.5),
        ("AdamW.lr", "stages.0.optimizer.lr", 0.5),
        ("Adaptive.lr", "stages.0.optimizer.lr", 0.5),  # by a base class
        ("Sampling.images_per_domain", "sampling.images_per_domain", 7),
        ("Experiment.sampling.images_per_domain", "sampling.images_per_domain", 7),
        ("DeepLabV3Plus.backbone.width", "model.backbone.width", 5),
        ("SmallNet.width", "model.backbone.width", 5),
        ("TargetNorm.batch_size", "adaptations.1.batch_size", 9),
        ("Experiment.seed", "seed", 11),
        ("seed", "seed", 11),
    ],
)
def test_a_field_is_set_by_path_or_class_and_nothing_else_changes(key: str, path: str, value: Any) -> None:
    changed = override(EXPERIMENT, key, value)
    assert at_path(changed, path) == value
    before, after = ({s.path: s.value for s in settings(e) if not holds(s.path, path)} for e in (EXPERIMENT, changed))
    assert before == after


def holds(outer: str, inner: str) -> bool:
    return inner == outer or inner.startswith(f"{outer}.")


@pytest.mark.parametrize(
    ("experiment", "key", "text", "value"),
    [
        (EXPERIMENT, "SGD.lr", "0.25", 0.25),
        (EXPERIMENT, "SGD.lr", ".25", 0.25),
        (EXPERIMENT, "SGD.lr", "1e-3", 0.001),
        (EXPERIMENT, "SGD.lr", "2", 2.0),
        (EXPERIMENT, "MLDG.second_order", "false", False),
        (EXPERIMENT, "MLDG.second_order", "True", True),
        (EXPERIMENT, "MLDG.num_meta_train", "none", None),
        (EXPERIMENT, "MLDG.num_meta_train", "2", 2),
        (EXPERIMENT, "evaluation_size", "[64, 128]", (64, 128)),
        (EXPERIMENT, "evaluation_size", "None", None),
        (EXPERIMENT, "targets", '["kitti"]', ("kitti",)),
        (EXPERIMENT, "selection", "last", "last"),
        (EXPERIMENT, "DeepLabV3Plus.output_stride", "8", 8),
        (EXPERIMENT, "name", "7", "7"),
        (EXPERIMENT, "name", "none", "none"),
        (EXPERIMENT, "development", "7", "7"),
    ],
)
def test_text_of_a_command_line_becomes_the_fields_type(
    experiment: Experiment, key: str, text: str, value: Any
) -> None:
    changed = override(experiment, key, text)
    (setting,) = (setting for setting in settings(changed) if key in setting.keys)
    assert setting.value == value and type(setting.value) is type(value)


def test_a_version_that_looks_like_a_number_stays_text() -> None:
    change: dict[str, Any] = {**SQUEEZENET, "adaptations": (TrainBN(),), "evaluation_size": (64, 64)}
    changed = override(replace(EXPERIMENT, **change), "SqueezeNet.version", "1.0")
    assert changed.model == Classifier(SqueezeNet("1.0"))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("Stage.steps", 5, r"'Stage\.steps' is ambiguous: it could be stages\.0\.steps, stages\.1\.steps"),
        ("MLDG.iner_lr", 0.1, r"has no setting 'MLDG\.iner_lr'; perhaps you meant .*MLDG\.inner_lr"),
        ("stages.2.steps", 5, r"no setting 'stages\.2\.steps'"),
        ("MLDG.inner_lr", "fast", r"stages\.1\.method\.inner_lr is 'fast' \(str\): it must be float"),
        ("MLDG.inner_lr", True, r"stages\.1\.method\.inner_lr is True \(bool\): it must be float"),
        ("MLDG.inner_lr", "-1", r"MLDG\.inner_lr is -1\.0: it must be 0 or more"),
        ("Sampling.images_per_domain", "2.5", r"sampling\.images_per_domain is .*2\.5.*: it must be int"),
        ("Sampling.balance", "even", "is 'even': it must be one of 'equal', 'proportional', 'class-uniform'"),
        ("stages.1.method", "ERN", r"stages\.1\.method: .*ERN.*"),
        ("stages.1.method", 5, r"stages\.1\.method is 5 \(int\): it must be Method"),
        ("targets", '["idd"]', "'idd' is a source and a target"),  # what is checked at the start is checked again
    ],
)
def test_an_override_that_does_not_fit_is_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        override(EXPERIMENT, key, value)


def test_a_whole_value_can_be_put_in_place_of_another() -> None:
    assert override(EXPERIMENT, "stages.1.method", ERM()).stages[1].method == ERM()


def test_a_study_is_changed_where_an_experiment_has_the_field() -> None:
    plain, meta = override_study(STUDY, "MLDG.inner_lr", "0.5").experiments
    assert plain == PLAIN
    assert meta == override(MLDG_ALONE, "MLDG.inner_lr", 0.5)
    changed = override_study(STUDY, "SGD.lr", "0.5")
    assert [e.stages[0].optimizer.lr for e in changed.experiments] == [0.5, 0.5]
    assert override_study(STUDY, "SGD.lr", "0.1") == STUDY  # to what it is already


def test_a_study_without_the_field_anywhere_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no setting 'SGD\.rl'; perhaps you meant .*SGD\.lr"):
        override_study(STUDY, "SGD.rl", 1)


def test_with_seeds_runs_every_experiment_with_every_seed() -> None:
    study = STUDY.with_seeds((5, 6))
    assert [(e.name, e.seed) for e in study.experiments] == [("ERM", 5), ("ERM", 6), ("MLDG", 5), ("MLDG", 6)]
    assert study.with_seeds((3,)) == STUDY  # seeds that were there are replaced, not multiplied


def test_steps_batch_and_names_of_sources_follow_from_the_settings() -> None:
    assert EXPERIMENT.steps == 4 + 6
    assert EXPERIMENT.batch_size == 2 * 5 * 3
    assert EXPERIMENT.source_names == ("camvid", "idd", "camvid:2")


def test_every_step_belongs_to_one_stage() -> None:
    places = [EXPERIMENT.stage_at(step) for step in range(10)]
    assert places == [(0, step) for step in range(4)] + [(1, step) for step in range(6)]
    with pytest.raises(ValueError, match="step 12 is past the end: the experiment has 10 steps"):
        EXPERIMENT.stage_at(12)


def test_seeds_folded_for_different_purposes_differ() -> None:
    folded = {EXPERIMENT.fold(*parts) for parts in [(), ("a",), ("a", 1), (1, "a"), ("a", "1"), ("a1",)]}
    assert len(folded | {replace(EXPERIMENT, seed=4).fold("a")}) == 7
