"""A job sent to a cluster: what is packed, what is refused on either side, and, on a cluster of two nodes started as a
user would start it, what happens to jobs that end well, end badly, and are stopped."""

import io
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import ray
from mlflow import MlflowClient
from ray._private import ray_constants
from ray._private.runtime_env.packaging import create_package
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobType
from rich.console import Console

import raydg.cli
import raydg.job
from raydg.cluster import jobs, nodes, session, submitted
from raydg.cluster.package import LIMIT, Package, heaviest
from raydg.experiment import Experiment, Study
from raydg.resources import Resources
from raydg.studies import named_study
from raydg.submission import FINGERPRINT, HEAD_TRACKING_URI

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROOT = Path(__file__).parents[2]
SHARED = Resources(data="/shared/data", runs="/shared/runs", address="auto")


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    files = {
        ".gitignore": "/data/\n*.log\n",
        ".rayignore": "notes\n",
        ".git/HEAD": "ref",
        ".venv/bin/python": "x" * 99,
        "data/big.bin": "x" * 999,
        "deep/data/kept.bin": "x" * 400,
        "deep/one.log": "l",
        "deep/.gitignore": "two.txt\n",
        "deep/two.txt": "2",
        "deep/__pycache__/a.pyc": "c",
        "jobs/jöb.py": "print(1)",
        "notes/today": "n",
    }
    return write(tmp_path / "tree", files)


def test_a_package_is_what_ray_zips_to_the_byte(tree: Path, tmp_path: Path) -> None:
    package = Package.of(tree)
    kept = {".gitignore", ".rayignore", "deep/.gitignore", "deep/data/kept.bin", "jobs/jöb.py"}
    assert set(package.files) == kept
    target = tmp_path / "package.zip"
    create_package(str(tree), target, True, excludes=ray_constants.get_runtime_env_default_excludes())
    with zipfile.ZipFile(target) as file:
        assert {entry.filename: entry.file_size for entry in file.infolist()} == package.files
    assert package.size == target.stat().st_size


def test_rays_switch_for_gitignore_is_heeded(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "1")
    assert {"data/big.bin", "deep/one.log", "deep/two.txt"} < set(Package.of(tree).files)
    assert "notes/today" not in Package.of(tree).files


def test_a_package_that_ray_would_refuse_names_its_largest_paths(tree: Path) -> None:
    package = Package.of(tree)
    package.check(["jobs/jöb.py"], limit=package.size + 1)
    with pytest.raises(ValueError, match=r"5 files, and Ray sends less than .*:\n- deep/data/kept.bin: 0.0 MiB\n- "):
        package.check([], limit=package.size)
    with pytest.raises(ValueError, match=r"tree/deep/one.log would not be sent, for a .gitignore"):
        package.check(["deep/one.log"])
    assert LIMIT == 100 * 2**20


def test_the_heaviest_paths_are_as_deep_as_one_thing_outweighs_the_rest() -> None:
    files = {"a/b/c": 60, "a/b/d": 30, "a/e": 9, "f/g": 5, "f/h": 5, "i": 80}
    assert heaviest(files) == [("i", 80), ("a/b/c", 60), ("f/", 10)]


def test_the_working_tree_of_raydg_itself_fits_and_holds_its_jobs() -> None:
    package = Package.of(ROOT)
    package.check(["raydg/__init__.py", "jobs/quickstart.py", "pyproject.toml"])
    assert not any(name.startswith((".git/", ".venv/", "build/")) for name in package.files)


class Jobs:
    """A cluster's jobs without a cluster."""

    def __init__(self, *jobs: JobDetails) -> None:
        self.jobs = list(jobs)
        self.sent: list[dict[str, Any]] = []
        self.logs: list[list[str | Exception]] = []
        self.later: list[JobStatus] = []

    def get_address(self) -> str:
        return "http://head:8265"

    def list_jobs(self) -> list[JobDetails]:
        return self.jobs

    def get_job_info(self, job: str) -> JobDetails:
        (found,) = (each for each in self.jobs if each.submission_id == job)
        if self.later:
            found.status = self.later.pop(0)
        return found

    def stop_job(self, job: str) -> bool:
        return True

    def submit_job(self, **request: Any) -> str:
        self.sent.append(request)
        return request["submission_id"]

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        for text in self.logs.pop(0):
            if isinstance(text, Exception):
                raise text
            yield text


def fail(error: Exception) -> None:
    raise error


def details(job: str, status: str = "SUCCEEDED", **more: Any) -> JobDetails:
    return JobDetails(
        type=JobType.SUBMISSION, submission_id=job, status=JobStatus(status), entrypoint="python x.py", **more
    )


def test_an_id_may_be_abbreviated_while_it_is_unique() -> None:
    driver = JobDetails(type=JobType.DRIVER, job_id="01", status=JobStatus.RUNNING, entrypoint="")
    client: Any = Jobs(details("abc1-night-train"), details("abc2-night-evaluate"), details("raysubmit_xyz"), driver)
    assert jobs.find(client, "abc1").submission_id == "abc1-night-train"
    assert jobs.find(client, "abc2-night-evaluate").submission_id == "abc2-night-evaluate"
    assert jobs.find(client, "xy").submission_id == "raysubmit_xyz"
    with pytest.raises(ValueError, match="'abc' could be abc1-night-train, abc2-night-evaluate: give more"):
        jobs.find(client, "abc")
    with pytest.raises(ValueError, match="no job '01'; the newest are: abc1-night-train, abc2-night-evaluate, raysub"):
        jobs.find(client, "01")
    whole: Any = Jobs(details("abc"), details("abcd"))
    assert jobs.find(whole, "abc").submission_id == "abc"


def test_the_table_has_a_line_for_every_job_newest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    sent = {jobs.FILE: "jobs/night.py", jobs.COMMAND: "train"}
    client: Any = Jobs(
        details("old", start_time=1_700_000_000_000, end_time=1_700_007_500_000, metadata=sent),
        details("new", "RUNNING", start_time=1_700_090_000_000),
        details("waits", "PENDING"),
    )
    out = Console(file=io.StringIO(), width=160)
    out.print(jobs.table(jobs.submitted(client), now=1_700_090_075))
    lines = [line.split("│")[1:-1] for line in out.file.getvalue().splitlines() if "│" in line]  # type: ignore[attr-defined]
    assert [[cell.strip() for cell in line] for line in lines] == [
        ["new", "RUNNING", "", "python x.py", "2023-11-15 23:13", "1 min 15 s"],
        ["old", "SUCCEEDED", "jobs/night.py", "train", "2023-11-14 22:13", "2 h 05 min"],
        ["waits", "PENDING", "", "python x.py", "", ""],
    ]
    assert jobs.duration(59.9) == "59 s"


@pytest.mark.parametrize(
    ("job", "status"),
    [
        (details("a"), 0),
        (details("a", "STOPPED"), 143),
        (details("a", "FAILED", driver_exit_code=3), 3),
        (details("a", "FAILED", driver_exit_code=-9), 137),
        (details("a", "FAILED", message="no environment"), 1),
    ],
)
def test_the_exit_status_is_the_jobs(job: JobDetails, status: int) -> None:
    assert jobs.exit_status(job) == status


def test_a_log_is_followed_over_a_lost_connection_and_no_line_comes_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "PAUSE_SECONDS", 0)
    client: Any = Jobs(details("a"))
    client.logs = [
        ["one\ntw", OSError("lost")],
        [RuntimeError("gone")],
        ["one\n", "two\nthree\n"],
        ["one\ntwo\nthree\n4"],
    ]
    client.later = [JobStatus.RUNNING, JobStatus.FAILED]
    out = io.StringIO()
    assert jobs.follow(client, "a", out).status == JobStatus.FAILED
    assert out.getvalue() == "one\ntwo\nthree\n4"
    client.logs = [[OSError("down")]] * (jobs.RECONNECTS + 1)
    with pytest.raises(
        ValueError, match=r"answer any more: down. The job goes on. Follow it: raydg jobs logs --follow"
    ):
        jobs.follow(client, "a", out)


def test_stopping_returns_when_the_job_has_ended() -> None:
    client: Any = Jobs(details("a", "RUNNING"))
    client.later = [JobStatus.RUNNING, JobStatus.RUNNING, JobStatus.STOPPED]
    waits: list[float] = []
    assert jobs.stop(client, "a", waits.append).status == JobStatus.STOPPED and len(waits) == 2
    client.later = [JobStatus.RUNNING]
    with pytest.raises(ValueError, match="a was told to stop and is still RUNNING after 2 min 00 s"):
        jobs.stop(client, "a", waits.append)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (None, r"which cluster\? Give its dashboard: --address http://127.0.0.1:8265, or set RAY_API_SERVER_ADDRESS"),
        ("auto", "--address auto is not the URL of a dashboard: it must be like http"),
        ("ray://head:10001", "--address ray://head:10001 is not the URL of a dashboard"),
    ],
)
def test_an_address_is_a_dashboards(address: str | None, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    with pytest.raises(ValueError, match=message):
        jobs.connect(address)


def test_the_address_typed_comes_first_and_the_token_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[tuple[str, dict[str, str] | None]] = []

    def client(address: str, headers: dict[str, str] | None) -> None:
        assert "RAY_API_SERVER_ADDRESS" not in os.environ and "RAY_ADDRESS" not in os.environ
        seen.append((address, headers))

    monkeypatch.setattr(jobs, "JobSubmissionClient", client)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://other:1")
    monkeypatch.setenv("RAY_ADDRESS", "other:2")
    monkeypatch.setenv("HOME", str(write(tmp_path, {".ray/auth_token": "of-home\n"})))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    jobs.connect("http://typed:3")
    jobs.connect(None)
    assert os.environ["RAY_API_SERVER_ADDRESS"] == "http://other:1"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given")
    jobs.connect(None)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    jobs.connect(None)
    home, given = ({"Authorization": f"Bearer {token}"} for token in ("of-home", "given"))
    assert seen == [
        ("http://typed:3", home),
        ("http://other:1", home),
        ("http://other:1", given),
        ("http://other:1", None),
    ]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ConnectionError("Failed to connect to Ray"),
            "no Ray cluster answers at http://h:1: Failed to connect to Ray Is",
        ),
        (RuntimeError("Version check returned 404."), "no Ray cluster answers at http://h:1: Version check"),
        (
            AuthenticationError("Authentication required"),
            "the cluster at http://h:1 wants its token: Auth.*get-auth-token",
        ),
    ],
)
def test_no_cluster_and_no_token_are_clear_errors(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def client(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(jobs, "JobSubmissionClient", client)
    with pytest.raises(ValueError, match=message):
        jobs.connect("http://h:1")


@pytest.fixture
def study(experiment: Experiment) -> Study:
    return Study(name="tiny", experiments=(experiment,))


def send(
    study: Study,
    tree: Path,
    monkeypatch: pytest.MonkeyPatch,
    client: Jobs,
    *flags: str,
    status: int | None = None,
    command: str = "train",
) -> None:
    """Run `submit COMMAND` of a job file in a tree of its own, on a cluster that is not there."""
    monkeypatch.setattr(sys, "argv", [str(tree / "jobs" / "jöb.py")])
    monkeypatch.setattr(jobs, "connect", lambda address: client)
    args = ["submit", command, "--data", "/shared/data", "--runs", "/shared/runs", "--Stage.steps", "7", *flags]
    if status is None:
        raydg.job.main(study, args=args)
        return
    with pytest.raises(SystemExit) as ended:
        raydg.job.main(study, args=args)
    assert ended.value.code == status


def test_what_is_printed_is_what_is_sent(
    study: Study, tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = Jobs()
    send(study, tree, monkeypatch, client, "--no-follow", "--pip", "timm")
    (stage,) = study.experiments[0].stages
    changed = replace(study, experiments=(replace(study.experiments[0], stages=(replace(stage, steps=7),)),))
    (request,) = client.sent
    shown = capsys.readouterr().out
    assert f"study: {changed.fingerprint()}\n" in shown and "│ 7 " in shown.replace("│     7", "│ 7")
    assert request["entrypoint"] == (
        "python 'jobs/jöb.py' train --data /shared/data --runs /shared/runs --Stage.steps 7 --address auto"
    )
    environment = request["runtime_env"]
    assert environment["env_vars"][FINGERPRINT] == changed.fingerprint()
    assert environment["working_dir"] == str(tree) and environment["pip"] == ["timm"]
    assert environment["py_modules"] == [str(Path(raydg.__file__).parent)]  # the tree has none
    assert request["metadata"] == {jobs.FILE: "jobs/jöb.py", jobs.COMMAND: "train"}
    assert f"Follow it: raydg jobs logs --follow --address http://head:8265 {request['submission_id']}" in shown


def test_a_named_study_is_sent_as_the_command_that_reaches_it(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = Jobs()
    monkeypatch.setattr(jobs, "connect", lambda address: client)
    monkeypatch.chdir(tree / "jobs")
    shared = ["--data", "/shared/data", "--runs", "/shared/runs"]
    raydg.cli.main(["studies", "tsmldg/T4", "submit", "train", *shared, "--only", "MLDG 2*", "--no-follow"])
    (request,) = client.sent
    assert request["entrypoint"] == (
        "python -m raydg studies tsmldg/T4 train --data /shared/data --runs /shared/runs --only 'MLDG 2*' "
        "--address auto"
    )
    assert request["runtime_env"]["working_dir"] == str(tree) and request["runtime_env"]["py_modules"]
    assert request["metadata"] == {jobs.FILE: "raydg studies tsmldg/T4", jobs.COMMAND: "train"}
    study = named_study("tsmldg/T4").study()
    assert (
        study
        and request["runtime_env"]["env_vars"][FINGERPRINT]
        == raydg.job.restricted(study, ["MLDG 2*"], ()).fingerprint()
    )


def test_following_ends_as_the_job_ends_and_ctrl_c_leaves_it_running(
    study: Study, tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = [details("x"), details("x", "FAILED", error_type="SETUP", message="pip could not install timm")]

    def follow(client: Jobs, job: str) -> JobDetails:
        if not ended:
            raise KeyboardInterrupt
        return ended.pop(0)

    monkeypatch.setattr(jobs, "follow", follow)
    send(study, tree, monkeypatch, Jobs())
    assert capsys.readouterr().out.endswith("-tiny-train SUCCEEDED\n")
    send(study, tree, monkeypatch, Jobs(), status=1)
    assert "\npip could not install timm\n" in capsys.readouterr().out
    send(study, tree, monkeypatch, Jobs(), status=130)
    assert "The job goes on. Follow it: raydg jobs logs --follow" in capsys.readouterr().out


def test_nothing_is_sent_that_is_wrong(
    study: Study, tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = Jobs()
    send(study, tree, monkeypatch, client, "--runs", "runs", status=1)
    assert "--runs runs is relative: on the cluster it would lie in a copy" in capsys.readouterr().err
    send(study, tree, monkeypatch, client, "--SGD.lr", "fast", status=1)
    assert "optimizer.lr is 'fast'" in capsys.readouterr().err
    space = tree / "space.py"
    space.write_text("from ray import tune\nSPACE = {'SGD.rate': tune.uniform(0.0, 1.0)}\n")
    send(study, tree, monkeypatch, client, str(space), status=1, command="sweep")
    assert "search space 'SGD.rate': " in capsys.readouterr().err
    drawn = "--random-settings", "2", "--search-space", str(space)
    send(study, tree, monkeypatch, client, *drawn, status=1, command="study")
    assert "no setting 'SGD.rate'" in capsys.readouterr().err
    full: Any = SimpleNamespace(submit_job=lambda **_: fail(RuntimeError("status code 500: Traceback\n  …\nfull")))
    send(study, tree, monkeypatch, full, status=1)
    assert capsys.readouterr().err == "error: the cluster does not take the job: full\n"
    (tree / ".gitignore").write_text("jobs/\n")
    send(study, tree, monkeypatch, client, status=1)
    assert "jobs/jöb.py would not be sent" in capsys.readouterr().err
    assert client.sent == []


@pytest.fixture
def as_a_job(study: Study, monkeypatch: pytest.MonkeyPatch) -> list[Resources]:
    """This process is a submitted job on one node, whose head runs no MLflow server; what runs is listed."""
    monkeypatch.setenv(FINGERPRINT, study.fingerprint())
    monkeypatch.setattr(submitted, "unreachable", lambda uri: None if "lab" in uri else "Connection refused")
    monkeypatch.setattr(session, "start", lambda address: None)
    monkeypatch.setattr(submitted, "check_folders", lambda study, resources: None)
    ran: list[Resources] = []
    monkeypatch.setattr(
        "raydg.judging.show.show_table", lambda study, resources, console, options: ran.append(resources)
    )
    return ran


def run_job(study: Study, *flags: str) -> None:
    raydg.job.main(study, SHARED, ["table", *flags])


def test_a_submitted_job_runs_what_was_printed_and_records_at_the_server(
    study: Study, as_a_job: list[Resources], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_job(study, "--tracking-uri", "http://lab:5000")
    with pytest.raises(SystemExit):
        run_job(study)
    assert (
        f"no tracking server answers at {HEAD_TRACKING_URI}, as the head sees it (Connection" in capsys.readouterr().err
    )
    monkeypatch.setattr(submitted, "unreachable", lambda uri: None)
    run_job(study)
    uris = ["http://lab:5000", HEAD_TRACKING_URI]
    assert as_a_job == [replace(SHARED, tracking_uri=uri) for uri in uris]


def test_a_submitted_job_that_would_be_another_refuses_to_run(
    study: Study, as_a_job: list[Resources], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run_job(study, "--SGD.lr", "0.25")
    shown = capsys.readouterr()
    assert f"and {study.fingerprint()} was printed at submission: nothing was run" in shown.err
    assert "tiny: 1 experiments" in shown.out and not as_a_job


def test_a_submitted_job_whose_file_says_other_folders_is_refused(
    study: Study, as_a_job: list[Resources], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run_job(study, "--runs", "runs", "--tracking-uri", "http://lab:5000")
    assert "--runs runs is relative" in capsys.readouterr().err and not as_a_job


def nodes_called(*names: str) -> list[dict[str, Any]]:
    return [{"Alive": True, "NodeID": n, "NodeManagerHostname": n, "NodeManagerAddress": "10.0.0.1"} for n in names]


def test_every_node_must_see_the_runs_and_the_same_domains(
    study: Study, prepared: str, runs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes are stood in for by functions from what is asked to what is answered."""
    asked: list[str] = []
    lost: dict[str, str] = {}

    def ask(node: str, paths: list[str]) -> Any:
        asked.extend(paths)
        return {path: None if lost.get(node, "nothing") in path else nodes.digest(path) for path in paths}

    monkeypatch.setattr(nodes, "ask", ask)
    monkeypatch.setattr(ray, "get", lambda answer, timeout: answer)
    resources = Resources(data=prepared, runs=runs)
    Path(runs).mkdir()
    monkeypatch.setattr(ray, "nodes", lambda: [*nodes_called("head"), nodes_called("gone")[0] | {"Alive": False}])
    submitted.check_folders(study, resources)
    assert asked == []  # one node sees what it sees

    monkeypatch.setattr(ray, "nodes", lambda: nodes_called("head", "gpu"))
    submitted.check_folders(study, resources)
    manifests = [path for path in asked if path.endswith("manifest.json")]
    assert len(set(manifests)) == 4 and all(path.startswith(prepared) for path in manifests)
    for what in (".probe-", "street/noon/"):
        lost["gpu"] = what
        with pytest.raises(
            ValueError, match=r"^node gpu \(10.0.0.1, gpu\) does not see what the head has .*--runs, --data"
        ):
            submitted.check_folders(study, resources)
    assert list(Path(runs).iterdir()) == []
    with pytest.raises(ValueError, match=r"--runs /nowhere/runs: there is no /nowhere on the head; mount it"):
        submitted.check_folders(study, replace(resources, runs="/nowhere/runs"))


def test_a_cluster_that_grows_on_demand_counts_with_the_nodes_it_may_start(monkeypatch: pytest.MonkeyPatch) -> None:
    grown: dict[str, int] | None = {"CPU": 16, "GPU": 1}
    monkeypatch.setattr(session, "state", SimpleNamespace(get_max_resources_from_cluster_config=lambda: grown))
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"node:__internal_head__": 1.0})
    session.start("auto", worker_cpus=15)
    with pytest.raises(ValueError, match="take 16 CPUs and data needs one more, but the cluster has 16"):
        session.start("auto", worker_cpus=16)
    grown = None
    with pytest.raises(ValueError, match="but the cluster has 0"):
        session.start("auto")


# A cluster of two nodes, as `ray start` makes it.


@dataclass(frozen=True)
class Cluster:
    """What runs for the test, and the folder outside the repository that commands are typed in."""

    dashboard: str
    mlflow: str
    folder: Path
    environment: dict[str, str]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=300
        )

    def submit(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Submit a command of the quickstart, for two steps of ERM on one worker."""
        flags = ["--only", "ERM", "--Stage.steps", "2", "--Experiment.validate-every", "2", "--workers", "1"]
        where = ["--address", self.dashboard, "--tracking-uri", self.mlflow]
        folders = ["--data", str(self.folder / "data"), "--runs", str(self.folder / "runs")]
        command, *more = args
        job = str(ROOT / "jobs" / "quickstart.py")
        return self.run(sys.executable, job, "submit", command, *flags, *where, *folders, *more)

    def jobs(self, *args: str) -> subprocess.CompletedProcess[str]:
        action, *more = args
        typed = f"from raydg.cli import main; main({['jobs', action, '--address', self.dashboard, *more]!r})"
        return self.run(sys.executable, "-c", typed)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all that it started."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        try:
            member.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    process.wait()


def wait_for(url: str, header: dict[str, str]) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(urllib.request.Request(url, headers=header), timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(url)


@pytest.fixture
def cluster(prepared: str) -> Iterator[Cluster]:
    """Two nodes of one CPU each that want a token, and an MLflow server, all on the loopback."""
    folder = Path(tempfile.mkdtemp(prefix=".raydg-submit-", dir=Path.home()))  # jobs refuse a temporary folder
    sockets = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # whose paths must be short
    (folder / "data").symlink_to(prepared)
    token = secrets.token_hex(32)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_", "PYTEST_"))}
    binaries = Path(sys.executable).parent
    servers = kept | {"PATH": f"{binaries}:{kept['PATH']}", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    servers |= {"OMP_NUM_THREADS": "1", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "RAY_worker_niceness": "0"}
    gcs, dashboard, mlflow = free_port(), free_port(), free_port()
    node = ["--num-cpus=1", "--block", "--node-ip-address=127.0.0.1", "--object-store-memory=100000000"]
    node += ["--min-worker-port=0", "--max-worker-port=0", "--disable-usage-stats"]
    commands = [
        [
            *("mlflow", "server", "--host", "127.0.0.1", "--port", str(mlflow), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts"),
        ],
        [
            *("ray", "start", "--head", f"--port={gcs}", f"--temp-dir={sockets}", *node),
            *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--ray-client-server-port={free_port()}"),
            f"--dashboard-agent-listen-port={free_port()}",
        ],
        [
            *("ray", "start", f"--address=127.0.0.1:{gcs}", *node, f"--dashboard-agent-listen-port={free_port()}"),
            f"--temp-dir={sockets}/2",  # a folder of its own for the tree, which two machines would not share either
        ],
    ]
    header = {"Authorization": f"Bearer {token}"}
    environment = kept | {"PYTHONPATH": str(ROOT), "RAY_AUTH_TOKEN": token, "OMP_NUM_THREADS": "1"}
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, sockets, ignore_errors=True)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for number, command in enumerate(commands):
            log = stack.enter_context((folder / f"{number}.log").open("wb"))
            program = [str(binaries / command[0]), *command[1:]]
            process = subprocess.Popen(program, env=servers, stdout=log, stderr=log, start_new_session=True)
            stack.callback(end, process)
            if number == 1:
                wait_for(f"http://127.0.0.1:{dashboard}/api/version", header)
        wait_for(f"http://127.0.0.1:{mlflow}/health", {})
        yield Cluster(f"http://127.0.0.1:{dashboard}", f"http://127.0.0.1:{mlflow}", folder, environment)


@pytest.mark.slow
def test_jobs_are_submitted_followed_fail_and_are_stopped(cluster: Cluster) -> None:
    untrained = cluster.submit("evaluate")
    assert untrained.returncode == 1, untrained.stderr
    assert "error: 'ERM' with seed 0 is trained to step 0 of 2: run `train` first." in untrained.stdout

    trained = cluster.submit("train")
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert trained.stdout.endswith("-quickstart-train SUCCEEDED\n")
    (run,) = (cluster.folder / "runs").glob("ERM-s0-*")
    assert (run / "checkpoints" / "step_000002").is_dir()
    client = MlflowClient(cluster.mlflow)
    recorded = client.get_experiment_by_name("quickstart")
    assert recorded is not None
    (seed,) = client.search_runs([recorded.experiment_id], "attributes.run_name LIKE '%, seed 0'")
    assert {metric.step for metric in client.get_metric_history(seed.info.run_id, "train/loss")} == {0, 1}
    assert seed.data.tags["raydg.folder"] == str(run)

    sent = cluster.submit("train", "--no-follow", "--Stage.steps", "100000", "--seeds", "1")
    assert sent.returncode == 0, sent.stderr
    job = sent.stdout.partition("\njob: ")[2].partition("\n")[0]
    deadline = time.monotonic() + 240
    while not list((cluster.folder / "runs").glob("ERM-s1-*/metrics.jsonl")):
        assert time.monotonic() < deadline, cluster.jobs("logs", job).stdout
        time.sleep(1)
    listed = cluster.jobs("list").stdout
    (line,) = (line for line in listed.splitlines() if job in line)
    assert "RUNNING" in line and "jobs/quickstart.py" in line and "SUCCEEDED" in listed and "FAILED" in listed
    stopped = cluster.jobs("stop", job[:6])
    assert (stopped.returncode, stopped.stdout) == (0, f"{job} STOPPED\n")
    assert cluster.jobs("stop", job[:6]).stdout == f"{job} had ended: STOPPED\n"
    followed = cluster.jobs("logs", "--follow", job[:6])
    assert followed.returncode == 143 and "seed 1" in followed.stdout
