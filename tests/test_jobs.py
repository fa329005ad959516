"""The files that users start from: jobs, search spaces and the cluster description say what the package understands."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import jsonschema
import pytest
import torch
import yaml

from raydg.experiment import Study, override_study, settings
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


@named(JOBS)
def test_every_network_of_a_job_can_be_built(path: Path) -> None:
    for model, space in {(e.model, e.label_space) for e in study_of(path).experiments}:
        with torch.device("meta"):
            network = model.build(space, pretrained=False)
        assert network.task == space.task
        assert all(parameter.is_meta for parameter in network.parameters())
        assert any(space.num_classes in parameter.shape for parameter in network.decoder.parameters())


@named(SEARCH_SPACES)
def test_every_key_of_a_search_space_is_a_setting_of_a_job_and_takes_what_is_sampled(path: Path) -> None:
    studies = [study_of(job) for job in JOBS]
    for key, domain in load(path).SPACE.items():
        fitting = [s for s in studies if any(key in setting.keys for e in s.experiments for setting in settings(e))]
        assert fitting, f"{key} is a setting of no job"
        for value in domain.sample(size=5, random_state=0):
            for study in fitting:
                changed = override_study(study, key, value)
                found = [s.value for e in changed.experiments for s in settings(e) if key in s.keys]
                assert set(found) == {value}


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
