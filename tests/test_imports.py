"""What may import what: Ray and MLflow stay in their corners, the core stands alone, help is light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "raydg"
FILES = sorted(path for folder in ("raydg", "jobs", "search_spaces") for path in (ROOT / folder).rglob("*.py"))

CORNERS = {"ray": ("raydg/cluster/", "search_spaces/"), "mlflow": ("raydg/tracking/",)}
"""Where the two heavy packages may be imported."""

FOUNDATION = {"values", "seeds", "types", "licence", "storage"}
BELOW = {
    "domains": FOUNDATION - {"types"},
    "models": FOUNDATION | {"domains"},
    "methods": FOUNDATION | {"domains", "models"},
    "adaptation": FOUNDATION | {"domains", "models"},
    "calibration": FOUNDATION,
    "evaluation": FOUNDATION | {"domains", "calibration"},
}
"""What each part of the core may import from raydg, itself apart."""


def imported(source: str) -> Iterator[str]:
    """Every module, or name of a module, that a source imports, at the top or inside a function."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import, which these rules do not read"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def trespasses(source: str, place: str) -> list[str]:
    """Imports of Ray or MLflow in a file at `place` that is outside their corners."""
    roots = {name: name.partition(".")[0] for name in imported(source)}
    return [name for name, root in roots.items() if root in CORNERS and not place.startswith(CORNERS[root])]


def climbs(source: str, part: str) -> list[str]:
    """Imports in a file of a part of the core that reach above or beside it."""
    legal = BELOW[part] | {part}
    return [name for name in imported(source) if name.startswith("raydg.") and name.split(".")[1] not in legal]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_ray_and_mlflow_stay_in_their_corners(path: Path) -> None:
    assert trespasses(path.read_text(), path.relative_to(ROOT).as_posix()) == []


@pytest.mark.parametrize("part", BELOW)
def test_the_core_imports_nothing_above_it(part: str) -> None:
    files = sorted((PACKAGE / part).rglob("*.py")) or [PACKAGE / f"{part}.py"]
    assert {path.name: found for path in files if (found := climbs(path.read_text(), part))} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import ray", ["ray"]),
        ("import os, ray.data as data", ["ray.data"]),
        ("def run():\n    from ray.train import report", ["ray.train.report"]),
        ("from mlflow import log_metric", ["mlflow.log_metric"]),
        ("import rays\nfrom raydg.cluster import session\nimport mlflows", []),
    ],
)
def test_the_rule_about_corners_sees_a_trespass(source: str, found: list[str]) -> None:
    assert trespasses(source, "raydg/loop.py") == found
    assert trespasses("import ray", "raydg/cluster/new.py") == []
    assert trespasses("import ray", "raydg/tracking/runs.py") == ["ray"]


def test_the_rule_about_layers_sees_a_climb() -> None:
    assert climbs("from raydg.experiment import Experiment", "methods") == ["raydg.experiment.Experiment"]
    assert climbs("def f():\n    from raydg import checkpoint", "models") == ["raydg.checkpoint"]
    assert climbs("from raydg.methods import ERM", "adaptation") == ["raydg.methods.ERM"]
    assert climbs("from raydg.types import Batch", "domains") == ["raydg.types.Batch"]  # types needs torch
    assert climbs("from raydg.methods.method import Method", "methods") == []


def fresh(code: str) -> None:
    """Run code in a fresh interpreter; it must end well and say nothing of warnings."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_core_and_the_loop_work_where_ray_and_mlflow_are_not_installed() -> None:
    fresh("""
import sys
for absent in ("ray", "mlflow"):
    sys.modules[absent] = None  # importing it fails
try:
    import ray
except ImportError:
    pass
else:
    raise SystemExit("ray was to be absent")
import raydg.methods, raydg.models, raydg.adaptation, raydg.augmentation
import raydg.domains.catalogue, raydg.domains.street_world, raydg.domains.object_world
import raydg.shards, raydg.evaluation, raydg.selection, raydg.experiment, raydg.settings, raydg.resources
import raydg.assembly, raydg.scoring, raydg.checkpoint, raydg.loop, raydg.report, raydg.job
import raydg.frames, raydg.products, raydg.prediction, raydg.exported, raydg.spelling, raydg.submission
import raydg.analysis, raydg.charts, raydg.page, raydg.registering, raydg.drawing
import raydg.judging.ways, raydg.judging.questions, raydg.judging.answers, raydg.judging.scorer
import raydg.judging.read, raydg.judging.show
""")


def test_domains_plans_and_values_need_neither_torch_nor_ray() -> None:
    fresh("""
import sys
import raydg.domains.catalogue, raydg.domains.street_world, raydg.domains.object_world, raydg.plan, raydg.values
heavy = {"torch", "torchvision", "ray", "mlflow"} & sys.modules.keys()
raise SystemExit(f"imported {heavy}" if heavy else 0)
""")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        *(
            [command, "--help"]
            for command in ("prepare", "world", "predict", "export", "jobs", "report", "register", "studies")
        ),
        ["jobs", "stop", "--help"],
    ],
)
def test_help_of_the_command_imports_nothing_heavy(arguments: list[str]) -> None:
    fresh(f"""
import sys
from raydg.cli import main
try:
    main({arguments!r})
except SystemExit as ended:
    assert ended.code == 0
heavy = {{"torch", "ray", "mlflow", "tyro", "rich", "numpy", "PIL", "pyarrow"}} & sys.modules.keys()
raise SystemExit(f"imported {{heavy}}" if heavy else 0)
""")
