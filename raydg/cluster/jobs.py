"""Jobs of a Ray cluster: found, shown, followed, stopped."""

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TextIO

import aiohttp
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient, JobType
from rich.table import Table

ADDRESS = "RAY_API_SERVER_ADDRESS"
"""Ray's own environment variable for the URL of a cluster's dashboard."""

STOPPED = 128 + 15
"""Exit status of a job that was stopped: that of a process that SIGTERM ends, with which Ray stops it."""

INTERRUPTED = 128 + 2
"""Exit status of following a job after Ctrl-C, which leaves the job running."""

RECONNECTS, PAUSE_SECONDS = 10, 2.0
STOP_SECONDS = 120.0

FILE, COMMAND = "raydg_file", "raydg_command"
"""Names in a job's metadata."""


def connect(address: str | None) -> JobSubmissionClient:
    """A client of the cluster whose dashboard is at `address`, an http(s) URL, or the one that the environment names.

    Where `RAY_AUTH_MODE` is not set and there is a token (`RAY_AUTH_TOKEN`, the file `RAY_AUTH_TOKEN_PATH`,
    ~/.ray/auth_token), it is shown: so does `ray.init` when it joins a cluster, but not Ray's client of jobs.

    Raises:
        ValueError: no address, one that is no URL, nothing that answers there as Ray does, or a token that is missing
            or wrong.
    """
    quieten()
    address = address or os.environ.get(ADDRESS)
    if not address:
        raise ValueError(f"which cluster? Give its dashboard: --address http://127.0.0.1:8265, or set {ADDRESS}.")
    if not address.startswith(("http://", "https://")):
        raise ValueError(
            f"--address {address} is not the URL of a dashboard: it must be like http://127.0.0.1:8265. "
            "`ray dashboard cluster.yaml` makes that of a cluster on AWS reachable, `kubectl port-forward` one on "
            "Kubernetes."
        )
    try:
        with _without(ADDRESS, "RAY_ADDRESS"):  # Ray would take either for the address that was typed
            return JobSubmissionClient(address, headers=_token_header())
    except AuthenticationError as error:
        raise ValueError(
            f"the cluster at {address} wants its token: {str(error).splitlines()[0]} Put it into ~/.ray/auth_token "
            "(on the head: `ray get-auth-token`), or set RAY_AUTH_TOKEN."
        ) from None
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"no Ray cluster answers at {address}: {str(error).splitlines()[0]} Is its dashboard forwarded to this "
            "machine (`ray dashboard cluster.yaml`), and was Ray installed as ray[default]?"
        ) from None


def quieten() -> None:
    """Ray logs every folder that it leaves out, every package that it sends and every log that ends; raydg prints what
    a user needs of it."""
    packaging, dashboard = "_private.runtime_env", "dashboard.modules"
    for name in (f"{packaging}.packaging", f"{packaging}.working_dir", f"{dashboard}.dashboard_sdk"):
        logging.getLogger(f"ray.{name}").setLevel(logging.ERROR)
    logging.getLogger(f"ray.{dashboard}.job.sdk").setLevel(logging.ERROR)


@contextmanager
def _without(*names: str) -> Iterator[None]:
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _token_header() -> dict[str, str] | None:
    if "RAY_AUTH_MODE" in os.environ:  # then Ray's client sees to it
        return None
    token = os.environ.get("RAY_AUTH_TOKEN")
    if not token:
        path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
        token = path.read_text().strip() if path.is_file() else ""
    return {"Authorization": f"Bearer {token}"} if token else None


def submitted(client: JobSubmissionClient) -> list[JobDetails]:
    """The cluster's jobs, newest first; without drivers that nobody submitted."""
    jobs = [job for job in client.list_jobs() if job.type == JobType.SUBMISSION]
    return sorted(jobs, key=lambda job: job.start_time or 0, reverse=True)


def find(client: JobSubmissionClient, text: str) -> JobDetails:
    """The job whose id is `text` or begins with it; Ray's own prefix of ids may be left out.

    Raises:
        ValueError: none, or several.
    """
    jobs = submitted(client)
    found = [job for job in jobs if text == job.submission_id]
    found = found or [job for job in jobs if _id(job).startswith((text, f"raysubmit_{text}"))]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"{text!r} could be {', '.join(map(_id, found))}: give more of the id.")
    known = ", ".join(_id(job) for job in jobs[:10]) or "none"
    raise ValueError(f"the cluster has no job {text!r}; the newest are: {known}.")


def _id(job: JobDetails) -> str:
    return job.submission_id or ""


def table(jobs: Sequence[JobDetails], now: float) -> Table:
    """A line for every job.

    Args:
        now: seconds since the epoch, for what still runs.
    """
    shown = Table(title="jobs of the cluster")
    for heading in ("id", "status", "job", "command", "started", "took"):
        shown.add_column(heading, overflow="fold", justify="right" if heading == "took" else "left")
    for job in jobs:
        named = job.metadata or {}
        start, end = (job.start_time or 0) / 1000, (job.end_time or 0) / 1000 or now
        shown.add_row(
            _id(job),
            str(job.status),
            named.get(FILE, ""),
            named.get(COMMAND, job.entrypoint),
            f"{datetime.fromtimestamp(start):%Y-%m-%d %H:%M}" if start else "",
            duration(end - start) if start else "",
        )
    return shown


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 05 min`."""
    minutes, rest = divmod(int(seconds), 60)
    hours = minutes // 60
    if hours:
        return f"{hours} h {minutes % 60:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def follow(client: JobSubmissionClient, job: str, out: TextIO | None = None) -> JobDetails:
    """Print a job's log from its beginning until it ends; a connection that breaks is made again and goes on where it
    was.

    Returns:
        The job as it ended.

    Raises:
        ValueError: the cluster does not answer any more.
    """
    log, failures = _Log(out or sys.stdout), 0
    while True:
        before = log.printed
        try:
            asyncio.run(log.show(client, job))
            details = client.get_job_info(job)
            if details.status.is_terminal():
                return details
            trouble = "the log ended before the job"
        except (OSError, RuntimeError, aiohttp.ClientError) as error:
            trouble = str(error).partition("\n")[0] or type(error).__name__
        failures = 1 if log.printed > before else failures + 1
        if failures > RECONNECTS:
            raise ValueError(f"the cluster does not answer any more: {trouble}. {hint(client, job)}")
        time.sleep(PAUSE_SECONDS)


class _Log:
    """What of a job's log is printed already."""

    def __init__(self, out: TextIO) -> None:
        self.out, self.printed = out, 0

    async def show(self, client: JobSubmissionClient, job: str) -> None:
        """Print what is new, as it comes; every connection sends the log from its beginning."""
        position = 0
        async for text in client.tail_job_logs(job):
            new = text[max(self.printed - position, 0) :]
            position += len(text)
            self.printed = max(self.printed, position)
            self.out.write(new)
            self.out.flush()


def hint(client: JobSubmissionClient, job: str) -> str:
    """How to go on with a job that runs without us."""
    where = f"--address {client.get_address()} {job}"
    return f"The job goes on. Follow it: raydg jobs logs --follow {where}; stop it: raydg jobs stop {where}"


def exit_status(job: JobDetails) -> int:
    """The exit status of an ended job's process; 143 if it was stopped, 1 if it never ran."""
    if job.status == JobStatus.SUCCEEDED:
        return 0
    if job.status == JobStatus.STOPPED:
        return STOPPED
    code = job.driver_exit_code or 1
    return code if code > 0 else 128 - code  # a negative one is the signal that killed it


def stop(client: JobSubmissionClient, job: str, wait: Callable[[float], None] = time.sleep) -> JobDetails:
    """Stop a job and return when it has ended, also by itself.

    Raises:
        ValueError: it still runs after two minutes.
    """
    client.stop_job(job)
    waited = 0.0
    while True:
        details = client.get_job_info(job)
        if details.status.is_terminal():
            return details
        if waited >= STOP_SECONDS:
            raise ValueError(f"{job} was told to stop and is still {details.status} after {duration(waited)}.")
        wait(0.5)
        waited += 0.5
