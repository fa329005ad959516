"""The `raydg` command: data in, predictions out. Experiments are job files with a command line of their own (see
raydg.job).

Only the standard library is imported here; a command imports what it needs when it runs, so that help is instant.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raydg.errors import readable_errors

if TYPE_CHECKING:
    from raydg.checkpoint import Checkpoint
    from raydg.prediction import ImagePredictor


def main(args: Sequence[str] | None = None) -> None:
    """Run the command that the command line (by default this process's) asks for."""
    parser = argparse.ArgumentParser(
        prog="raydg",
        description="Domain generalisation on a Ray cluster: prepare data here, then run a job file of jobs/, then "
        "predict with what it trained.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_data(commands)
    _add_prepare(commands)
    _add_inspect(commands)
    _add_world(commands)
    _add_predict(commands)
    _add_export(commands)
    _add_studies(commands)
    _add_jobs(commands)
    _add_report(commands)
    _add_register(commands)
    given = vars(parser.parse_args(args))
    with readable_errors():
        given.pop("run")(**given)


def _add_data(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    about = "list the datasets that raydg can prepare, or all that it knows of one: classes, splits, terms, layout"
    parser = commands.add_parser("data", help=about, description=about)
    parser.add_argument("dataset", nargs="?", help="its name in the catalogue, or a Python file with a DATASET")
    parser.set_defaults(run=data)


def _add_prepare(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    about = "turn a dataset as it was downloaded into Parquet shards and a manifest, checking every file on the way"
    parser = commands.add_parser("prepare", help=about, description=about)
    parser.add_argument("dataset", help="its name in the catalogue (`raydg data`), or a Python file with a DATASET")
    parser.add_argument("raw", help="folder that holds it, or URI of one (s3://bucket/gtav)")
    parser.add_argument("--out", default="data", help="folder or URI of the prepared domains (default: %(default)s)")
    parser.add_argument("--label-space", metavar="NAME", help="classes to label it with (default: the dataset's first)")
    parser.add_argument("--edition", metavar="NAME", help="how to read the folder (default: as what fits best)")
    parser.add_argument("--domains", nargs="+", metavar="NAME", help="which of its domains (default: all)")
    parser.add_argument("--splits", nargs="+", metavar="NAME", help="which of its splits (default: all)")
    parser.add_argument(
        "--accept-difference",
        metavar="WHY",
        help="prepare a copy that differs from what the dataset is expected to be; the manifest keeps the reason",
    )
    parser.add_argument(
        "--skip-bad",
        type=int,
        default=0,
        metavar="N",
        help="leave out and list up to N samples that cannot be used (default: 0)",
    )
    parser.add_argument("--longest-side", type=int, metavar="PIXELS", help="scale larger images down to this")
    parser.add_argument("--jpeg-quality", type=int, metavar="1-100", help="store all images as JPEG of this quality")
    parser.add_argument("--overwrite", action="store_true", help="prepare again what is there already")
    parser.add_argument("--address", help="Ray cluster to run on (default: one on this machine)")
    parser.set_defaults(run=prepare)


def _add_inspect(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    about = "show what is in a prepared domain: its manifest, its classes, and a contact sheet of images with labels"
    parser = commands.add_parser("inspect", help=about, description=about)
    parser.add_argument(
        "prepared", help="folder or URI of one prepared domain, or of several: data/cityscapes19/street"
    )
    parser.add_argument("--sheets", default=".", metavar="FOLDER", help="where contact sheets go (default: here)")
    parser.add_argument(
        "--images", type=int, default=8, metavar="N", help="images of each split (default: %(default)s)"
    )
    parser.set_defaults(run=inspect)


def _add_world(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    about = "draw a procedural world into a folder, in the layout of an ordinary dataset; then `raydg prepare` takes it"
    parser = commands.add_parser("world", help=about, description=about)
    parser.add_argument(
        "name", choices=("street", "objects"), help="19 Cityscapes classes in several weathers; 7 objects in 4 styles"
    )
    parser.add_argument("raw", help="folder to write")
    parser.add_argument(
        "--train", type=int, metavar="N", help="training images of each domain (street) or class and domain (objects)"
    )
    parser.add_argument("--val", type=int, metavar="N", help="validation images, likewise")
    parser.add_argument("--seed", type=int, default=0, help="another one draws other pictures (default: %(default)s)")
    parser.set_defaults(run=world)


def _add_predict(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    about = "predict images, folders of them or videos with a checkpoint: label maps, pictures, confidence"
    parser = commands.add_parser("predict", help=about, description=about)
    _add_way(parser)
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="an image, a folder (with all below it) or a video")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where predictions go; what is there is kept")
    parser.add_argument(
        "--ensemble",
        nargs="+",
        default=(),
        metavar="CHECKPOINT",
        help="others that predict with it, such as other seeds: the mean of all their probabilities is written",
    )
    parser.add_argument(
        "--write",
        nargs="+",
        metavar="WHAT",
        help="of each image: trainIds, labelIds, colour, overlay, confidence, memory (Pin the Memory's attention to "
        "each class), masks (DMG's, as one table), or all (default: all that there are but memory)",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU where there is one)")
    parser.add_argument(
        "--upright",
        action="store_true",
        help="turn images as their EXIF orientation says (default: as they are stored)",
    )
    parser.add_argument("--overwrite", action="store_true", help="predict again what is there already")
    parser.set_defaults(run=predict)


def _add_export(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    about = "write a checkpoint as a model that mlflow.pyfunc loads: arrays of images in, probabilities out"
    parser = commands.add_parser("export", help=about, description=about)
    _add_way(parser)
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where the model goes; it must not be there yet")
    parser.set_defaults(run=export)


def _add_studies(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    about = "list the papers' tables and figures that can be run, show the cells of one, or run it"
    parser = commands.add_parser("studies", help=about, description=about)
    parser.add_argument("name", nargs="?", help="such as tsmldg/T3 (default: list all)")
    parser.add_argument(
        "arguments",
        nargs=argparse.REMAINDER,
        metavar="...",
        help="train, evaluate, study, sweep, table, oracle or list (default), with the flags of a job; submit before "
        "one sends it to a Ray cluster; --dry-run prints what would be run and its cost",
    )
    parser.set_defaults(run=studies)


def _add_jobs(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    about = "list, follow or stop the jobs that `python jobs/NAME.py submit …` sent to a Ray cluster"
    actions = commands.add_parser("jobs", help=about, description=about).add_subparsers(required=True, metavar="ACTION")
    for name, does, run in (
        ("list", "the cluster's jobs, newest first", list_jobs),
        ("logs", "print what a job has printed", job_logs),
        ("stop", "stop a job, and return when it has ended", stop_job),
    ):
        parser = actions.add_parser(name, help=does, description=does)
        parser.add_argument(
            "--address",
            metavar="URL",
            help="the cluster's dashboard, such as http://127.0.0.1:8265 (default: RAY_API_SERVER_ADDRESS)",
        )
        if name != "list":
            parser.add_argument("job", metavar="ID", help="a job's id, or as much of it as no other begins with")
        if name == "logs":
            parser.add_argument("--follow", action="store_true", help="go on until the job ends, and return its status")
        parser.set_defaults(run=run)


def _add_report(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    about = "write one HTML page of a study that was evaluated: tables, charts, pictures, settings, licences, cost"
    parser = commands.add_parser("report", help=about, description=about)
    parser.add_argument("study", help="folder of the study, beside those of its runs: runs/NAME")
    parser.add_argument("--out", metavar="FILE", help="the page (default: report.html in the study's folder)")
    parser.add_argument("--data", default="data", help="folder or URI of the prepared domains (default: %(default)s)")
    parser.add_argument(
        "--pictures",
        type=int,
        default=4,
        metavar="N",
        help="images of every target that each way predicts, 0 for none (default: %(default)s)",
    )
    parser.add_argument(
        "--analysis",
        action="store_true",
        help="score every checkpoint on sources and targets, for curves; what it finds can select nothing",
    )
    parser.add_argument("--embedding", action="store_true", help="draw a t-SNE of the networks' features")
    parser.add_argument("--device", default="cpu", help="where networks run: cpu, cuda, cuda:1 (default: %(default)s)")
    parser.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="MLflow server or store whose run of the study the page is attached to (default: mlflow.db beside the "
        "runs, if it is there)",
    )
    parser.set_defaults(run=report)


def _add_register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    about = (
        "put a model into MLflow's registry with its generalisation card: of a study, what its selection scores best"
    )
    parser = commands.add_parser("register", help=about, description=about)
    _add_way(parser)
    parser.add_argument("--name", required=True, help="of the registered model; it gets a new version")
    parser.add_argument("--data", default="data", help="folder or URI of the prepared domains (default: %(default)s)")
    parser.set_defaults(run=register)


def _add_way(parser: argparse.ArgumentParser) -> None:
    """What predicts, and how."""
    parser.add_argument(
        "checkpoint",
        help="folder of a checkpoint, or of a run (its selected checkpoint), or an MLflow run (mlflow:RUN_ID)",
    )
    parser.add_argument(
        "--adaptation", metavar="CALL", help='such as "IaBN(instance_weight=0.1)" (default: the experiment\'s first)'
    )
    parser.add_argument("--inference", metavar="CALL", help='such as "MaskEns()" (default: the method\'s own)')
    parser.add_argument("--domain", metavar="NAME", help="which the images are of, for an inference that must know")
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow server or store of the run")


def data(dataset: str | None) -> None:
    """Print the catalogue, or one entry of it."""
    from rich.console import Console

    from raydg.domains import catalogue
    from raydg.listing import describe, overview

    console = Console()
    console.print(overview(catalogue.DATASETS) if dataset is None else describe(catalogue.dataset(dataset)))


def prepare(
    dataset: str,
    raw: str,
    out: str,
    address: str | None,
    longest_side: int | None,
    jpeg_quality: int | None,
    **options: Any,
) -> None:
    """Run the preparation on a Ray cluster; see raydg.cluster.prepare."""
    from raydg.domains import catalogue
    from raydg.shards import Encoding

    # Before Ray is imported and started, which takes seconds.
    entry, encoding = catalogue.dataset(dataset), Encoding(longest_side, jpeg_quality)

    from raydg.cluster import session
    from raydg.cluster.prepare import prepare as run

    session.start(address)
    run(entry, raw, out, encoding=encoding, **options)


def inspect(prepared: str, sheets: str, images: int) -> None:
    """Print manifests and write contact sheets; see raydg.inspection."""
    from raydg.inspection import inspect as run

    run(prepared, sheets, images)


def world(name: str, raw: str, train: int | None, val: int | None, seed: int) -> None:
    """Draw a procedural world; a number that is not given is the world's own default."""
    from pathlib import Path

    given: dict[str, Any] = {"seed": seed}
    if name == "street":
        from raydg.domains import street_world

        given |= {"train": train, "val": val}
        street_world.write(Path(raw), **{key: value for key, value in given.items() if value is not None})
    else:
        from raydg.domains import object_world

        given |= {"train_per_class": train, "val_per_class": val}
        object_world.write(Path(raw), **{key: value for key, value in given.items() if value is not None})
    print(f"The {name} world is in {raw}. Next: raydg prepare {name} {raw}")


def predict(
    inputs: Sequence[str],
    out: str,
    write: Sequence[str] | None,
    device: str | None,
    upright: bool,
    overwrite: bool,
    ensemble: Sequence[str],
    **way: Any,
) -> None:
    """Predict and write; see raydg.prediction. Ends with status 1 if something could not be predicted."""
    from contextlib import ExitStack

    from rich.console import Console
    from rich.progress import Progress

    from raydg import prediction, products
    from raydg.frames import find

    console = Console(highlight=False, soft_wrap=True)
    files = find(inputs, besides=out)
    with ExitStack() as found:
        checkpoint = found.enter_context(_checkpoint(way))
        others = [found.enter_context(_checkpoint(way | {"checkpoint": other})) for other in ensemble]
        experiment, method = checkpoint.experiment, checkpoint.method
        if write is None:
            wanted = products.default(experiment, method)
        else:
            wanted = products.legal(experiment, method) if "all" in write else tuple(dict.fromkeys(write))
        if others and (write is None or "all" in write):
            wanted = tuple(name for name in wanted if name not in ("memory", "masks"))  # each member has its own
        products.check(wanted, experiment, method)
        predictor = _predictor(checkpoint, way, device, "memory" in wanted, others)
        console.print(f"{predictor} → {out}")
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            total = None if any(file.is_video for file in files) else len(files)
            bar = progress.add_task("images", total=total)
            outcome = prediction.predict(
                predictor, files, out, wanted, upright, overwrite, done=lambda frame: progress.advance(bar)
            )
    console.print(outcome.summary(), markup=False)
    if outcome.faults:
        raise SystemExit(1)


def export(out: str, **way: Any) -> None:
    """Write a model of MLflow's pyfunc flavour; see raydg.tracking.export."""
    from raydg import tracking
    from raydg.licence import commercial_use

    with _checkpoint(way) as checkpoint:
        predictor = _predictor(checkpoint, way, "cpu")
        tracking.export(predictor, out)
        print(f"{predictor} → {out}; commercial use: {commercial_use(checkpoint.licences())}")


def studies(name: str | None, arguments: Sequence[str]) -> None:
    """List the named studies, or run a command on one; see raydg.studies."""
    from raydg.studies import named_studies, named_study

    if name is None:
        from rich.console import Console

        from raydg.studies.listing import overview

        Console().print(overview(named_studies()))
        return
    from raydg.studies import command

    rest = list(arguments)
    # Instead of the command, if there is one; `study` has its own.
    if "--dry-run" in rest and rest[0] not in ("study", "submit"):
        rest.remove("--dry-run")
        rest = ["dry-run", *(rest[1:] if rest and not rest[0].startswith("-") else rest)]
    command.run(named_study(name), rest)


def list_jobs(address: str | None) -> None:
    """Print the jobs of a cluster."""
    import time

    from raydg.cluster import jobs
    from raydg.console import open_console

    open_console().print(jobs.table(jobs.submitted(jobs.connect(address)), time.time()))


def job_logs(address: str | None, job: str, follow: bool) -> None:
    """Print a job's log; with `follow`, end as the job ends."""
    from raydg.cluster import jobs

    client = jobs.connect(address)
    name = jobs.find(client, job).submission_id or ""
    if not follow:
        print(client.get_job_logs(name), end="")
        return
    try:
        status = jobs.exit_status(jobs.follow(client, name))
    except KeyboardInterrupt:
        print(f"\n{jobs.hint(client, name)}")
        status = jobs.INTERRUPTED
    if status:
        raise SystemExit(status)


def stop_job(address: str | None, job: str) -> None:
    """Stop a job; one that has ended stays as it is."""
    from raydg.cluster import jobs

    client = jobs.connect(address)
    found = jobs.find(client, job)
    name = found.submission_id or ""
    ended = found.status.is_terminal()
    print(f"{name} {f'had ended: {found.status}' if ended else jobs.stop(client, name).status}")


def report(
    study: str,
    out: str | None,
    data: str,
    pictures: int,
    analysis: bool,
    embedding: bool,
    device: str,
    tracking_uri: str | None,
) -> None:
    """Write the page of a study; see raydg.page. Ray is not started."""
    from raydg import page

    _require_device(device)
    folder, path = Path(study), Path(out) if out else Path(study) / "report.html"
    evidence = page.gather(folder, data)
    if analysis:
        page.analyse(evidence, data, device, watch=print)
    page.write(evidence, path, pictures, embedding, device, watch=print)
    print(f"report: {path}")
    store = folder.absolute().parent / "mlflow.db"
    if evidence.study is not None and (tracking_uri or store.is_file()):
        from raydg.tracking import attach

        attach(evidence.study, tracking_uri or f"sqlite:///{store}", folder.absolute().parent, path)


def register(name: str, data: str, **way: Any) -> None:
    """Register a model with its card; see raydg.registering."""
    from contextlib import ExitStack

    from raydg import registering, tracking

    location = way["checkpoint"]
    with ExitStack() as stack:
        if registering.is_study(location):
            chosen = registering.of_study(location, data)
        else:
            checkpoint = stack.enter_context(_checkpoint(way))
            by_rule = checkpoint.path != Path(location).absolute()
            chosen = registering.of_checkpoint(checkpoint, data, by_rule)
        predictor = _predictor(chosen.checkpoint, way, "cpu")
        uri = way["tracking_uri"] or registering.store_beside(chosen.checkpoint)
        version = tracking.register(predictor, name, chosen.card(predictor), chosen.experiment, uri)
    where = uri or "MLflow's default store"
    print(f"{predictor} → {name}, version {version}, in {where}")


@contextmanager
def _checkpoint(way: Mapping[str, Any]) -> "Iterator[Checkpoint]":
    """The checkpoint that the command line names; one of MLflow's artifacts is there as long as the block runs."""
    from tempfile import TemporaryDirectory

    from raydg.prediction import find_checkpoint

    if not way["checkpoint"].startswith(("mlflow:", "runs:/")):
        yield find_checkpoint(way["checkpoint"])
        return
    from raydg.tracking import checkpoint_of_run

    with TemporaryDirectory(prefix="raydg_") as download:
        yield checkpoint_of_run(way["checkpoint"], download, way["tracking_uri"])


def _predictor(
    checkpoint: "Checkpoint",
    way: Mapping[str, Any],
    device: str | None,
    attention: bool = False,
    others: "Sequence[Checkpoint]" = (),
) -> "ImagePredictor":
    """What the command line makes of a checkpoint."""
    import torch

    from raydg.adaptation import Adaptation
    from raydg.methods import Inference
    from raydg.prediction import ImagePredictor
    from raydg.spelling import spelled

    adaptation = None if way["adaptation"] is None else spelled(way["adaptation"], Adaptation)
    inference = None if way["inference"] is None else spelled(way["inference"], Inference)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    _require_device(device)
    return ImagePredictor(checkpoint, adaptation, inference, way["domain"], device, attention, others)


def _require_device(device: str) -> None:
    """Raise a ValueError if torch cannot use a device."""
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without that kind of device
        raise ValueError(f"--device {device} cannot be used: {str(error).splitlines()[0]}") from None
