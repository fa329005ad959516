"""A job for a Ray cluster, as far as no cluster is needed to know it: what the command line asks for, what cannot work
there, and what is sent."""

import argparse
import posixpath
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import raydg
from raydg.resources import Resources
from raydg.storage import SCHEMES

FINGERPRINT = "RAYDG_SUBMITTED"
"""Environment variable of a submitted job: the fingerprint of the study that was printed at submission."""

HEAD_TRACKING_URI = "http://127.0.0.1:5000"
"""Where cluster.yaml puts the MLflow server, as the head sees it; a job's driver runs on the head."""

TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/private/tmp", "/var/folders")
"""Folders that are emptied, and that no two nodes share."""

SERVERS = ("http://", "https://", "databricks", "postgresql", "mysql", "mssql")
"""How the URI of a tracking server begins, or of a database that is one; what else there is are files."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What `submit` was asked for."""

    command: str
    """Another command of the job."""
    flags: tuple[str, ...] = ()
    """The command's own, as they were typed."""
    address: str | None = None
    """URL of the cluster's dashboard; None: `RAY_API_SERVER_ADDRESS`."""
    follow: bool = True
    """Whether to print the job's log until it ends."""
    pip: tuple[str, ...] = ()
    """Requirements that Ray installs for this job on every node."""
    tree: str | None = None
    """Folder to send; None: the project of the job file, or the one that this process stands in."""
    module: tuple[str, ...] = ()
    """The module, with its arguments, that reaches a job which is in no file, as `python -m` takes them."""


def split(args: Sequence[str], module: Sequence[str] = ()) -> Submission | None:
    """What a command line `submit COMMAND …` asks for, or None for one of another command.

    Only the flags of `submit` itself are read; all others are the command's, in their order.

    Args:
        args: the command line.
        module: as `Submission.module`.

    Raises:
        SystemExit: help was asked for, or a flag of `submit` lacks its value.
    """
    if not args or args[0] != "submit":
        return None
    parser = argparse.ArgumentParser(
        prog=f"{Path(sys.argv[0]).name} submit COMMAND",
        allow_abbrev=False,
        description="Send this job to a Ray cluster: `submit train --address http://127.0.0.1:8265 --workers 4 …` runs "
        "`train --workers 4 …` there, on this working tree, and follows its log. COMMAND is any other command, with "
        "its own flags: `COMMAND --help` explains those. The job goes on when this process ends.",
    )
    parser.add_argument(
        "--address",
        metavar="URL",
        help="the cluster's dashboard, such as http://127.0.0.1:8265 (default: RAY_API_SERVER_ADDRESS)",
    )
    parser.add_argument(
        "--no-follow", dest="follow", action="store_false", help="print the job's id and return at once"
    )
    parser.add_argument(
        "--pip",
        action="append",
        default=[],
        metavar="REQUIREMENT",
        help="a package that the nodes lack, as pip names it; may be given several times",
    )
    parser.add_argument(
        "--tree",
        metavar="FOLDER",
        help="what is sent, without what .gitignore and .rayignore name (default: the nearest folder above the job "
        "file, or of a named study above this one, with a .git or pyproject.toml; else the job file's own)",
    )
    if len(args) < 2 or args[1].startswith("-"):
        if not {"-h", "--help"} & set(args):
            parser.error("COMMAND is missing: it comes right after submit")
        parser.parse_args(["--help"])
    own, flags = parser.parse_known_args(args[2:])
    own.pip = tuple(own.pip)
    return Submission(command=args[1], flags=tuple(flags), module=tuple(module), **vars(own))


def job_file(program: str) -> Path:
    """The running job file.

    Raises:
        ValueError: the program is none, as in a notebook.
    """
    path = Path(program).absolute()
    if path.suffix != ".py" or not path.is_file():
        raise ValueError(f"{program!r} is no job file: only a Python file that calls raydg.job.main can be submitted.")
    return path


def tree_of(script: Path | None, tree: str | None) -> Path:
    """The folder that is sent with a job file; with None, a job that is in no file.

    Raises:
        ValueError: the job file is not in the folder asked for; or no folder is asked for, and this process stands in
            no project.
    """
    if tree is not None:
        folder = Path(tree).absolute()
        if script and folder not in script.parents:
            raise ValueError(f"--tree {tree}: {script} is not in it, so the cluster could not run it.")
        return folder
    around = script.parents if script else (Path.cwd(), *Path.cwd().parents)
    marked = (up for up in around if (up / ".git").exists() or (up / "pyproject.toml").exists())
    found = next(marked, script.parent if script else None)
    if found is None:
        raise ValueError(
            f"{Path.cwd()} is in no folder with a .git or pyproject.toml: change to the project that is to be sent, or "
            "name a folder with --tree."
        )
    return found


def own_package(tree: Path) -> Path | None:
    """The folder of the running raydg, if it must be sent beside the tree; None where the tree holds it.

    Raises:
        ValueError: the tree holds another raydg, which the job would import instead.
    """
    running = Path(raydg.__file__).absolute().parent
    inside = tree / "raydg"
    if running == inside or running.resolve() == inside.resolve():
        return None
    if (inside / "__init__.py").exists():
        raise ValueError(
            f"{tree} holds a raydg that the job would import, but this process runs the one in {running}: run the "
            "job file with the Python that has the tree's own installed, or name another folder with --tree."
        )
    return running


def unfit(resources: Resources) -> list[str]:
    """Why a job with these resources could not run on a cluster, or would lose what it makes; each with the fix."""
    found = []
    for name, location in (("runs", resources.runs), ("data", resources.data)):
        advice = f"give a folder that every node mounts, such as --{name} /shared/{name}"
        scheme, marked, _ = location.partition("://")
        if marked and name == "data" and scheme in SCHEMES:
            continue
        if marked:
            found.append(f"--{name} {location}: {advice}.")
        elif not posixpath.isabs(location):
            found.append(
                f"--{name} {location} is relative: on the cluster it would lie in a copy of the working tree, which "
                f"Ray deletes; {advice}."
            )
        elif _is_temporary(location):
            found.append(f"--{name} {location} is temporary, and another folder on every node; {advice}.")
    uri = resources.tracking_uri
    if uri is not None and not uri.startswith(SERVERS):
        found.append(
            f"--tracking-uri {uri} is a file, which the job's node alone has: give the URI of an MLflow server that "
            f"the head reaches, such as --tracking-uri {HEAD_TRACKING_URI}, or none, for a server that the head runs "
            "at this address."
        )
    return found


def refuse_unfit(resources: Resources) -> None:
    """Raise a ValueError with all that is wrong with a submitted job's resources, if anything is."""
    found = unfit(resources)
    if found:
        raise ValueError("\n- ".join(["a submitted job must leave everything where it outlives the job:", *found]))


def _is_temporary(path: str) -> bool:
    normal = posixpath.normpath(path)
    return any(normal == folder or normal.startswith(f"{folder}/") for folder in TEMPORARY)


def entrypoint(submission: Submission, script: Path | None, tree: Path) -> str:
    """The shell command that the cluster runs in its copy of the tree.

    A flag's value that is a file of the tree, named by its path from here, is named by its path in the tree.

    Raises:
        ValueError: a flag's value is a file beside the tree, named by its path from here.
    """
    flags = [_from_tree(flag, tree) for flag in submission.flags]
    program = [script.relative_to(tree).as_posix()] if script else ["-m", *submission.module]
    return shlex.join(["python", *program, submission.command, *flags, "--address", "auto"])


def _from_tree(flag: str, tree: Path) -> str:
    path = Path(flag)
    if flag.startswith("-") or not path.is_file():
        return flag
    if tree.resolve() in path.resolve().parents:
        return path.resolve().relative_to(tree.resolve()).as_posix()
    if path.is_absolute():
        return flag  # of a file system that the cluster may have, too
    raise ValueError(
        f"{flag} is not in {tree}, which is all that is sent: move it there, name another folder with --tree, or give "
        "its absolute path on the cluster."
    )


def new_id(study: str, command: str) -> str:
    """A job's id: random digits first, so that few of them name it, then what it is."""
    return "-".join([token_hex(3), *re.findall(r"[A-Za-z0-9]+", study)[:4], command]).lower()
