"""Sends a job to a Ray cluster: its working tree, its command, and the fingerprint of what was printed here."""

import sys
from typing import Any

from rich.console import Console

from raydg.cluster import jobs
from raydg.cluster.package import Package, mebibytes
from raydg.experiment import Study
from raydg.overview import overview
from raydg.resources import Resources
from raydg.submission import (
    FINGERPRINT,
    Submission,
    entrypoint,
    job_file,
    new_id,
    own_package,
    refuse_unfit,
    tree_of,
)

GRACE_SECONDS = 30
"""How long a job that is stopped may take to mark its MLflow runs as ended, before Ray kills it."""


def submit(study: Study, resources: Resources, submission: Submission, console: Console) -> int:
    """Send the job that this process runs as, print what it will run, and follow it.

    Returns:
        The job's exit status; 0 if it is not followed, 130 after Ctrl-C, which leaves the job running.

    Raises:
        ValueError: resources that would not outlive the job, a file or tree that would not be sent, or
            no cluster that takes the job.
    """
    script = None if submission.module else job_file(sys.argv[0])
    tree = tree_of(script, submission.tree)
    beside = own_package(tree)
    command = entrypoint(submission, script, tree)
    refuse_unfit(resources)
    jobs.quieten()
    package = Package.of(tree)
    file = script.relative_to(tree).as_posix() if script else None
    package.check([*([file] if file else []), *([] if beside else ["raydg/__init__.py"])])
    client = jobs.connect(submission.address)

    console.print(overview(study))
    fingerprint = study.fingerprint()
    job = new_id(study.name, submission.command)
    _say(console, f"study: {fingerprint}")
    _say(console, f"tree: {tree}, {len(package.files)} files, {mebibytes(package.size)}")
    environment: dict[str, Any] = {
        "working_dir": str(tree),
        "env_vars": {FINGERPRINT: fingerprint, "RAY_JOB_STOP_WAIT_TIME_S": str(GRACE_SECONDS)},
    }
    if beside:
        environment |= {"py_modules": [str(beside)], "excludes": ["__pycache__"]}
    if submission.pip:
        environment["pip"] = list(submission.pip)
    try:
        client.submit_job(
            entrypoint=command,
            submission_id=job,
            runtime_env=environment,
            metadata={jobs.FILE: file or " ".join(submission.module), jobs.COMMAND: submission.command},
        )
    except RuntimeError as error:
        raise ValueError(f"the cluster does not take the job: {str(error).strip().splitlines()[-1]}") from None
    _say(console, f"job: {job}")
    if not submission.follow:
        _say(console, jobs.hint(client, job))
        return 0
    try:
        ended = jobs.follow(client, job)
    except KeyboardInterrupt:
        _say(console, f"\n{jobs.hint(client, job)}")
        return jobs.INTERRUPTED
    if ended.error_type and not ended.driver_exit_code:  # Ray could not start it, so its log does not say why
        _say(console, ended.message or "")
    _say(console, f"job: {job} {ended.status}")
    return jobs.exit_status(ended)


def _say(console: Console, text: str) -> None:
    """A line to be copied: neither broken nor coloured."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)
