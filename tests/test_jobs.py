"""The files that users start from: jobs, search spaces and the cluster description say what the package understands."""

import importlib.util
import json
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import cycle
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import torch
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from rich.console import Console

from raydg.adaptation import TrainBN
from raydg.augmentation import Transform
from raydg.checkpoint import RunFolder, read_metrics
from raydg.domains import catalogue, object_world, street_world
from raydg.domains.dataset import Dataset
from raydg.domains.labels import CITYSCAPES_19, IDD_LEVEL1, PACS_7, SYNTHIA_16, LabelSpace
from raydg.experiment import Experiment, Study
from raydg.job import main
from raydg.licence import Licence, commercial_use
from raydg.loop import begin_stage, build_network, in_process_feed, train
from raydg.methods import CORAL, Extended, Method, MixStyle, Objective, PinTheMemory
from raydg.models import Architecture, HRNet, MiT, Network, SmallNet
from raydg.resources import Resources
from raydg.search import Search, Sweep, swept
from raydg.search import load as load_space
from raydg.shards import prepare_domains
from raydg.submission import HEAD_TRACKING_URI
from raydg.values import decode, encode

ROOT = Path(__file__).parents[1]
JOBS = sorted((ROOT / "jobs").glob("*.py"))
SEARCH_SPACES = sorted((ROOT / "search_spaces").glob("*.py"))


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def study_of(job: Path) -> Study:
    (study,) = (value for value in vars(load(job)).values() if isinstance(value, Study))
    return study


def named(paths: list[Path]) -> pytest.MarkDecorator:
    assert paths
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


@named(JOBS)
def test_a_job_is_a_study_named_like_its_file_that_survives_json(path: Path) -> None:
    study = study_of(path)
    assert study.name == path.stem
    assert decode(Study, json.loads(json.dumps(encode(study)))) == study


@named(JOBS)
def test_a_jobs_docstring_says_how_to_run_it(path: Path) -> None:
    commands = re.findall(rf"^    python jobs/{path.name} (\w+)", load(path).__doc__ or "", re.MULTILINE)
    assert commands == ["train", "evaluate"]


def datasets_of(experiment: Experiment) -> list[Dataset]:
    """Catalogue entries of all domains that an experiment names."""
    names = {*experiment.sources, *experiment.targets, *filter(None, [experiment.development])}
    found = [entry for entry in catalogue.DATASETS if names & set(entry.domains)]
    assert names <= {name for entry in found for name in entry.domains}
    return found


@named(JOBS)
def test_a_jobs_docstring_says_how_to_prepare_every_dataset_in_its_classes(path: Path) -> None:
    lines = re.findall(r"^    raydg prepare (\w+) [\w/]+(.*)$", load(path).__doc__ or "", re.MULTILINE)
    said = set()
    for name, options in lines:
        space = re.search(r"--label-space (\w+)", options)
        said.add((name, catalogue.dataset(name).label_space(space and space[1]).name))
    needed = {(d.name, e.label_space.name) for e in study_of(path).experiments for d in datasets_of(e)}
    assert said == needed


@named(JOBS)
def test_the_classes_and_splits_that_a_job_scores_exist(path: Path) -> None:
    for experiment in study_of(path).experiments:
        for dataset in datasets_of(experiment):
            assert dataset.label_space(experiment.label_space.name) == experiment.label_space
            edition = dataset.editions[0]
            parts = {*edition.layout.splits, *(subset.name for subset in edition.subsets)}
            if set(dataset.domains) & set(experiment.targets):
                assert set(experiment.target_splits or ()) <= parts
            if set(dataset.domains) & set(experiment.sources):
                assert {"train", "val"} <= parts


@named(JOBS)
def test_the_terms_of_all_that_a_job_is_made_of_can_be_told(path: Path) -> None:
    for experiment in study_of(path).experiments:
        backbone = experiment.model.backbone
        own = [entry.terms for entry in datasets_of(experiment)]
        assert bool(backbone.licences) == (getattr(backbone, "weights", None) is not None)
        written = json.loads(json.dumps(encode((*own, *backbone.licences))))
        chain = [decode(Licence, each) for each in written]
        assert all(licence.of and licence.terms for licence in chain)
        assert commercial_use(chain) in ("yes", "no", "unknown")


@named(JOBS)
def test_every_experiment_of_a_job_can_be_built_whole(path: Path) -> None:
    networks: dict[tuple[Architecture, LabelSpace], Network] = {}
    begun: set[tuple[Any, ...]] = set()  # what experiments share is built once
    for experiment in study_of(path).experiments:
        model, space = experiment.model, experiment.label_space
        with torch.device("meta"):
            if (model, space) not in networks:
                networks[model, space] = model.build(space, pretrained=False)
            network = networks[model, space]
            wholes = []
            for number, stage in enumerate(experiment.stages):
                if (key := (model, space, len(experiment.sources), stage.method)) not in begun:
                    begun.add(key)
                    wholes.append(begin_stage(experiment, number, network))
        assert network.task == space.task
        assert any(space.num_classes in parameter.shape for parameter in network.decoder.parameters())
        for whole in wholes:
            assert (whole.network if isinstance(whole, Extended) else whole) is network
            assert all(tensor.is_meta for tensor in whole.state_dict().values())


def test_the_table_of_adaptations_shares_the_quickstarts_trainings() -> None:
    quickstart, adaptations = (study_of(ROOT / "jobs" / f"{name}.py") for name in ("quickstart", "adaptations"))
    folders = [RunFolder.of(experiment, "runs") for experiment in adaptations.experiments]
    assert len(set(folders)) == len(folders)
    assert {RunFolder.of(experiment, "runs") for experiment in quickstart.experiments} <= set(folders)


STREETS = ("street/noon", "street/dusk", "street/rain", "street/night")
OBJECTS = tuple(f"objects/{name}" for name in object_world.DOMAINS)
DEVELOPMENT = "street/fog"


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of both procedural worlds, in every label space that a job has and a world can be labelled with."""
    raw, out = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("data")
    streets = (*STREETS, DEVELOPMENT)
    names = [domain.removeprefix("street/") for domain in streets]
    street_world.write(raw / "street", domains=names, train=2, val=1, height=48, width=96)
    object_world.write(raw / "objects", train_per_class=1, val_per_class=1, size=48)
    for space in (CITYSCAPES_19, SYNTHIA_16, IDD_LEVEL1):
        prepare_domains(catalogue.dataset("street"), streets, raw / "street", out, space)
    prepare_domains(catalogue.dataset("objects"), OBJECTS, raw / "objects", out, PACS_7)
    return str(out)


def shrunk(experiment: Experiment) -> Experiment:
    """The experiment on a procedural world, small enough for a test: only sizes change and what domains are called.

    Methods, optimisers, schedules, precision, the kinds of network, transforms and sampling, the number of sources, and
    which of them are one dataset, all stay. Classes that no world has (DomainNet's) become those of PACS.
    """
    streets = experiment.label_space.task == "segmentation"
    world = cycle(STREETS if streets else OBJECTS)
    named: dict[str, str] = {}
    for source in experiment.sources:
        named[source] = named.get(source) or next(world)
    network = small_network(experiment.model)
    covariances = 2 if isinstance(experiment.stages[-1].method, CORAL) else 1
    smallest = 1 if experiment.stages[0].method.smallest_forward == "one domain" else len(experiment.sources)
    return replace(
        experiment,
        label_space=experiment.label_space if streets or experiment.label_space == PACS_7 else PACS_7,
        sources=tuple(named[source] for source in experiment.sources),
        targets=(),
        target_splits=None,
        development=DEVELOPMENT if experiment.development else None,
        model=network,
        stages=tuple(replace(stage, steps=2, method=brief(stage.method)) for stage in experiment.stages),
        sampling=replace(
            experiment.sampling,
            images_per_domain=max(-(-network.minimum_batch // smallest), covariances),
            episodes_per_step=min(2, experiment.sampling.episodes_per_step),
        ),
        augmentation=replace(
            experiment.augmentation,
            transforms=tuple(map(small_transform, experiment.augmentation.transforms)),
            meta_test=experiment.augmentation.meta_test
            and tuple(map(small_transform, experiment.augmentation.meta_test)),
        ),
        adaptations=(TrainBN(),),
        choices=(),
        inferences=None,  # what judges names domains, too
        in_domain_splits=None,
        evaluation_size=experiment.evaluation_size and (64, 64),
        validate_every=None,
        keep_checkpoints=None,
    )


def brief(method: Method) -> Method:
    """The method; a memory is filled from two batches, and styles are mixed at a site of the small network."""
    match method:
        case PinTheMemory():
            return replace(method, initial_batches=2)
        case MixStyle():
            return replace(method, sites=("before_block2",))
    return method


def small_network(model: Architecture) -> Architecture:
    """The same architecture, narrow, on SmallNet, or on the smallest backbone of the only kind that it fits."""
    smallest = {MiT: MiT("B0"), HRNet: HRNet(18)}
    narrow = {field.name: 16 for field in fields(model) if field.name.endswith("_channels")}
    return replace(model, backbone=smallest.get(type(model.backbone), SmallNet(8)), **narrow)


def small_transform(transform: Transform) -> Transform:
    return replace(transform, height=64, width=64) if transform.output_size else transform


def distinct(study: Study) -> list[Experiment]:
    """One experiment for every method, optimiser and kind of network that a study has."""
    found: dict[tuple[Any, ...], Experiment] = {}
    for experiment in study.experiments:
        stages = tuple((type(stage.optimizer), stage.method) for stage in experiment.stages)
        found.setdefault((stages, type(experiment.model), experiment.label_space.name), experiment)
    return list(found.values())


EXPERIMENTS = [(path.stem, experiment) for path in JOBS for experiment in distinct(study_of(path))]


@pytest.mark.parametrize(("job", "experiment"), EXPERIMENTS, ids=[f"{job} {e.name}" for job, e in EXPERIMENTS])
def test_two_steps_of_a_jobs_experiments_train(job: str, experiment: Experiment, worlds: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    small = shrunk(experiment)
    folder = RunFolder.of(small, tmp_path).open(small)
    train(small, folder, in_process_feed(worlds), worlds, torch.device("cpu"))

    lines = [line for line in read_metrics(folder.metrics) if "loss" in line]
    assert [line["step"] for line in lines] == list(range(2 * len(small.stages)))
    for line in lines:
        stage, _ = small.stage_at(int(line["step"]))
        assert set(small.stages[stage].method.loss_names) <= line.keys()
    last = folder.checkpoints()[-1]
    assert last.step == small.steps and last.rows() and last.licences()
    begun, done = build_network(small), 0
    for number, stage in enumerate(small.stages):
        model, done = begin_stage(small, number, begun), done + stage.steps
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        learning = {name for name, p in Objective(stage.method, model).model.named_parameters() if p.requires_grad}
        begun = folder.checkpoint_at(done).model()
        after = begun.state_dict()
        assert before.keys() == after.keys()
        # Weight decay does not move what is 0, such as the new biases that these two steps give no gradient.
        still = {name for name in learning if torch.equal(before[name], after[name]) and before[name].any()}
        assert not still


@named(SEARCH_SPACES)
def test_a_search_space_fits_the_experiments_that_its_docstring_sweeps(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Sweep] = []

    def sweep_study(study: Study, _: Resources, __: Console, search: Search, files: Sequence[str]) -> None:
        assert files == (f"search_spaces/{path.name}",)
        seen.append(swept(study, load_space(path), search))

    stand_in: Any = ModuleType("raydg.cluster.sweep")
    stand_in.sweep_study = sweep_study
    monkeypatch.setitem(sys.modules, "raydg.cluster.sweep", stand_in)
    commands = re.findall(r"^    python jobs/(\w+).py (sweep .*)$", load(path).__doc__ or "", re.MULTILINE)
    for job, arguments in commands:
        main(study_of(ROOT / "jobs" / f"{job}.py"), args=shlex.split(arguments))
    assert len(seen) == len(commands) > 0
    adapts = path.stem in ("iabn", "seg_ttt", "tent", "tta")
    assert all(sweep.judge.trains != adapts for sweep in seen)


@named(SEARCH_SPACES)
def test_a_search_spaces_docstring_has_a_line_for_every_key(path: Path) -> None:
    module = load(path)
    said = re.findall(r"^\|[^|]+\| `([\w.]+)` \|[^|]+\|$", module.__doc__ or "", re.MULTILINE)
    assert said == list(module.SPACE)


def ray_schema() -> dict:
    """Ray's own schema of a cluster description, read from beside its code."""
    spec = importlib.util.find_spec("ray")
    assert spec and spec.origin
    return json.loads((Path(spec.origin).parent / "autoscaler" / "ray-schema.json").read_text())


def test_the_cluster_description_fits_rays_schema() -> None:
    cluster = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    jsonschema.validate(cluster, ray_schema())
    assert cluster["head_node_type"] in cluster["available_node_types"]
    with pytest.raises(jsonschema.ValidationError, match="max_worker'"):
        jsonschema.validate(cluster | {"max_worker": 3}, ray_schema())
    validate_config(prepare_config(cluster))  # what a schema cannot say, such as numbers of nodes that add up


def test_the_cluster_starts_spot_nodes_before_equal_ones_on_demand() -> None:
    kinds = yaml.safe_load((ROOT / "cluster.yaml").read_text())["available_node_types"]
    spot, on_demand = kinds["gpu_spot"], kinds["gpu_on_demand"]
    # Ray prefers by priority among kinds that score alike, which takes the same resources.
    assert spot["resources"] == on_demand["resources"] and spot["priority"] > on_demand["priority"]
    market = {"InstanceMarketOptions": {"MarketType": "spot"}}
    assert spot["node_config"] == on_demand["node_config"] | market
    assert kinds["head"]["resources"] == {"CPU": 0} and "GPU" not in kinds["data"]["resources"]


def test_the_cluster_keeps_dashboard_and_mlflow_to_itself_and_installs_what_pyproject_says() -> None:
    cluster = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    head = " ".join(cluster["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in head and "mlflow server --host 127.0.0.1 --port 5000" in head
    assert HEAD_TRACKING_URI == "http://127.0.0.1:5000"
    setup = " ".join([*cluster["setup_commands"], *cluster["head_setup_commands"]])
    assert "pyproject.toml" in cluster["file_mounts"].values() and "-r pyproject.toml" in setup
    assert not re.search(r"(ray|torch|mlflow|raydg)\S*==", setup)  # versions are in one place
