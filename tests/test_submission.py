"""What a submission is, before there is a cluster: the command line in two, what is refused, what is sent."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import raydg
from raydg.resources import Resources
from raydg.submission import Submission, entrypoint, job_file, new_id, own_package, refuse_unfit, split, tree_of, unfit

SERVER = "--tracking-uri http://127.0.0.1:5000, or none, for a server that the head runs at this address."
SHARED = Resources(data="/shared/data", runs="/shared/runs")


def test_a_submission_is_the_command_its_own_flags_and_those_of_submit() -> None:
    assert split([]) is None and split(["train", "--address", "auto"]) is None
    typed = "submit train --workers 2 --only ERM MLDG* --address http://head:8265 --pip timm --SGD.lr .1 --pip a==1"
    assert split([*typed.split(), "--no-follow"]) == Submission(
        command="train",
        flags=("--workers", "2", "--only", "ERM", "MLDG*", "--SGD.lr", ".1"),
        address="http://head:8265",
        follow=False,
        pip=("timm", "a==1"),
    )
    # A command that this file never heard of, with an argument of its own and a flag that begins like one of ours.
    assert split(["submit", "sweep", "space.py", "--address=http://h:1", "--add", "3", "--tree", "here"]) == Submission(
        command="sweep", flags=("space.py", "--add", "3"), address="http://h:1", tree="here"
    )


@pytest.mark.parametrize(
    ("args", "status", "text"),
    [
        (["submit"], 2, "COMMAND is missing: it comes right after submit"),
        (["submit", "--workers", "2", "train"], 2, "COMMAND is missing: it comes right after submit"),
        (["submit", "--help"], 0, "a package that the nodes lack"),
        (["submit", "train", "--help"], 0, "a package that the nodes lack"),
        (["submit", "train", "--address"], 2, "argument --address: expected one argument"),
    ],
)
def test_submit_needs_a_command_and_explains_itself(
    args: list[str], status: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        split(args)
    assert ended.value.code == status and text in "".join(capsys.readouterr())


def test_folders_that_nodes_share_and_servers_are_fit() -> None:
    for resources in (
        SHARED,
        Resources(data="s3://bucket/data", runs="/mnt/efs/tmp/runs"),
        Resources(data="gs://bucket/data?x=1", runs="/tmpfs-not/runs", tracking_uri="https://mlflow.lab"),
        Resources(data="/shared/data", runs="/shared/runs", tracking_uri="postgresql+psycopg2://db/mlflow"),
        Resources(data="/shared/data", runs="/shared/runs", tracking_uri="databricks"),
    ):
        assert unfit(resources) == []
        refuse_unfit(resources)


@pytest.mark.parametrize(
    ("changes", "start", "fix"),
    [
        ({"runs": "runs"}, "--runs runs is relative: ", "--runs /shared/runs."),
        ({"data": "~/data"}, "--data ~/data is relative: ", "--data /shared/data."),
        ({"runs": "/tmp/runs"}, "--runs /tmp/runs is temporary", "--runs /shared/runs."),
        ({"runs": "/home/../tmp"}, "--runs /home/../tmp is temporary", "--runs /shared/runs."),
        ({"data": "/dev/shm/data"}, "--data /dev/shm/data is temporary", "--data /shared/data."),
        ({"runs": "s3://bucket/runs"}, "--runs s3://bucket/runs: ", "--runs /shared/runs."),
        ({"data": "file:///data"}, "--data file:///data: ", "--data /shared/data."),
        ({"tracking_uri": "sqlite:////shared/mlflow.db"}, "--tracking-uri sqlite:", SERVER),
        ({"tracking_uri": "mlruns"}, "--tracking-uri mlruns is a file", SERVER),
        ({"tracking_uri": "file:///shared/mlruns"}, "--tracking-uri file:", SERVER),
    ],
)
def test_what_would_die_with_the_job_is_refused_with_the_fix(changes: dict, start: str, fix: str) -> None:
    (found,) = unfit(replace(SHARED, **changes))
    assert found.startswith(start) and found.endswith(fix)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ValueError, match=r"(?s)^a submitted job must .*\n- --runs .*\n- --data .*\n- --tracking-uri "):
        refuse_unfit(Resources(tracking_uri="sqlite:///mlflow.db"))


def test_the_tree_is_the_job_files_project(tmp_path: Path) -> None:
    script = tmp_path / "project" / "jobs" / "night" / "one.py"
    script.parent.mkdir(parents=True)
    assert tree_of(script, None) == script.parent
    (tmp_path / "project" / "pyproject.toml").touch()
    assert tree_of(script, None) == tmp_path / "project"
    (script.parent.parent / ".git").touch()
    assert tree_of(script, None) == tmp_path / "project" / "jobs"
    assert tree_of(script, str(tmp_path)) == tmp_path
    with pytest.raises(ValueError, match=r"^--tree .*elsewhere: .*one.py is not in it"):
        tree_of(script, str(tmp_path / "elsewhere"))


def test_a_job_file_is_a_python_file(tmp_path: Path) -> None:
    (tmp_path / "one.py").touch()
    assert job_file(str(tmp_path / "one.py")) == tmp_path / "one.py"
    for wrong in (str(tmp_path / "two.py"), sys.executable):
        with pytest.raises(ValueError, match="is no job file: only a Python file that calls"):
            job_file(wrong)


def test_raydg_goes_along_once_and_is_the_one_that_ran_here(tmp_path: Path) -> None:
    package = Path(raydg.__file__).parent
    assert own_package(package.parent) is None
    assert own_package(tmp_path) == package
    (tmp_path / "raydg").mkdir()
    (tmp_path / "raydg" / "__init__.py").touch()
    with pytest.raises(ValueError, match=r"holds a raydg that the job would import, but this process runs the one in"):
        own_package(tmp_path)


def test_the_cluster_runs_the_same_command_in_its_copy_of_the_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tree" / "spaces").mkdir(parents=True)
    (tmp_path / "tree" / "spaces" / "one.py").touch()
    (tmp_path / "beside.py").touch()
    monkeypatch.chdir(tmp_path)
    shared = str(tmp_path / "beside.py")  # a path that the cluster may have, too
    flags = ("tree/spaces/one.py", shared, "--Experiment.name", "a b's", "--SGD.lr", "0.1")
    command = entrypoint(
        Submission(command="sweep", flags=flags), tmp_path / "tree" / "jobs" / "two.py", tmp_path / "tree"
    )
    assert shlex.split(command) == [
        *("python", "jobs/two.py", "sweep", "spaces/one.py", shared),
        *("--Experiment.name", "a b's", "--SGD.lr", "0.1", "--address", "auto"),
    ]
    with pytest.raises(ValueError, match=r"beside.py is not in .*tree, which is all that is sent"):
        entrypoint(Submission(command="sweep", flags=("beside.py",)), tmp_path / "tree" / "two.py", tmp_path / "tree")


def test_a_job_that_is_in_no_file_is_reached_by_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = split(["submit", "train", "--workers", "2"], ("raydg", "studies", "tsmldg/T3"))
    assert sent and shlex.split(entrypoint(sent, None, tmp_path)) == [
        *("python", "-m", "raydg", "studies", "tsmldg/T3", "train", "--workers", "2", "--address", "auto")
    ]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"is in no folder with a \.git or pyproject\.toml"):
        tree_of(None, None)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    assert tree_of(None, None) == tmp_path and tree_of(None, "..") == Path("..").absolute()


def test_ids_say_what_the_job_is_and_differ_at_their_beginning() -> None:
    ids = {new_id("PACS: leave one/out", "train") for _ in range(20)}
    assert len({each[:6] for each in ids}) == len(ids) > 15
    assert {each[6:] for each in ids} == {"-pacs-leave-one-out-train"}
