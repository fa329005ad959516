"""Prepares domains: plans shards, has any number of processes write them, puts a domain in place when it is whole."""

import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from raydg.domains.dataset import Dataset, RawSample
from raydg.domains.label_table import LabelTable
from raydg.domains.labels import LabelSpace
from raydg.shards.draft import DRAFT, Draft, check_bad
from raydg.shards.manifest import MANIFEST, Skipped
from raydg.shards.reading import PreparedDomain
from raydg.shards.writing import ShardReport, ShardTask, write_shard

RunTasks = Callable[[Callable[[ShardTask], ShardReport], Sequence[ShardTask]], Iterable[ShardReport]]
"""Maps `write_shard` over tasks, results in order: builtin `map`, or the same on a cluster."""


@dataclass(frozen=True)
class Preparation:
    """A prepared domain, and whether this call wrote it or found it there."""

    domain: PreparedDomain
    written: bool


def prepare_domain(
    dataset: Dataset,
    domain: str,
    raw: str | Path,
    out: str | Path,
    label_space: LabelSpace,
    splits: Sequence[str] | None = None,
    skip_bad: int = 0,
    overwrite: bool = False,
    run_tasks: RunTasks = map,
) -> Preparation:
    """One domain, as `prepare_domains` does it."""
    return prepare_domains(dataset, (domain,), raw, out, label_space, splits, skip_bad, overwrite, run_tasks)[0]


def prepare_domains(
    dataset: Dataset,
    domains: Sequence[str],
    raw: str | Path,
    out: str | Path,
    label_space: LabelSpace,
    splits: Sequence[str] | None = None,
    skip_bad: int = 0,
    overwrite: bool = False,
    run_tasks: RunTasks = map,
) -> list[Preparation]:
    """Prepare domains of a dataset under `out`; what is prepared already stays as it is, unread.

    A domain appears under `out` when it is whole. On an error or an interrupt nothing of it is left, while the domains
    before it stay. A process that is killed leaves a hidden folder `.preparing-…`, which the next one clears away: so
    prepare a domain in one process at a time.

    Args:
        dataset: entry of the catalogue.
        domains: some of its domains.
        raw: folder in the dataset's own layout.
        out: folder of the prepared domains; on a cluster both are folders that every node sees.
        label_space: one that the dataset has a table for.
        splits: which to prepare; None: all.
        skip_bad: samples of a domain that may be unusable (file missing or truncated, sizes that differ, unknown id);
            they are left out and listed in the manifest.
        overwrite: prepare anew what is prepared already.
        run_tasks: where shards are written.

    Raises:
        ValueError: more bad samples than tolerated; a layout that is not the dataset's; a split without samples; a
            domain that is prepared already, but otherwise than asked.
    """
    raw, out = Path(raw).absolute(), Path(out).absolute()
    table, wanted = dataset.table(label_space), dataset.chosen_splits(splits)
    if skip_bad < 0:
        raise ValueError(f"skip_bad is {skip_bad}: it must be 0 or more.")
    if not domains or len(set(domains)) < len(domains) or not set(domains) <= set(dataset.domains):
        legal = ", ".join(dataset.domains)
        raise ValueError(
            f"domains of {dataset.name} are {list(domains)}: they must be one or more of {legal}, each once."
        )
    with ExitStack() as stack:
        planned: list[PreparedDomain | Draft] = []
        for domain in domains:
            folder = out / label_space.name / domain
            if (folder / MANIFEST).exists() and not overwrite:
                planned.append(existing(domain, out, table, wanted, skip_bad))
                continue
            if folder.exists() and not (folder / MANIFEST).exists():
                raise ValueError(
                    f"{folder} is in the way, and no prepared domain: remove it, or choose another out folder."
                )
            samples, missing = whole_pairs(dataset.list_samples(raw, domain, wanted))
            check_bad(domain, missing, skip_bad)
            scratch = stack.enter_context(scratch_folder(out, f"{label_space.name}-{domain.replace('/', '-')}"))
            planned.append(
                Draft(
                    dataset=dataset,
                    domain=domain,
                    table=table,
                    splits=wanted,
                    samples=samples,
                    missing=missing,
                    skip_bad=skip_bad,
                    scratch=scratch,
                    folder=folder,
                )
            )
        tasks = [task for plan in planned if isinstance(plan, Draft) for task in plan.tasks]
        done: list[Preparation] = []
        with closing(stream(run_tasks, tasks)) as reports:
            for plan in planned:
                if isinstance(plan, Draft):
                    done.append(Preparation(plan.finish(reports), written=True))
                else:
                    done.append(Preparation(plan, written=False))
        return done


def stream(run_tasks: RunTasks, tasks: Sequence[ShardTask]) -> Generator[ShardReport, None, None]:
    """Reports in the order of the tasks. Closing it closes what runs them, before the folder they write to goes."""
    if tasks:
        yield from run_tasks(write_shard, tasks)


@contextmanager
def scratch_folder(out: Path, name: str) -> Iterator[Path]:
    """A folder beside the domains that is gone afterwards, as is what killed processes left under this name.

    It has an empty folder `DRAFT` in it.
    """
    out.mkdir(parents=True, exist_ok=True)
    for leftover in out.glob(f".preparing-{name}.*"):
        shutil.rmtree(leftover)
    with tempfile.TemporaryDirectory(prefix=f".preparing-{name}.", dir=out, ignore_cleanup_errors=True) as scratch:
        (Path(scratch) / DRAFT).mkdir()
        yield Path(scratch)


def existing(domain: str, out: Path, table: LabelTable, splits: tuple[str, ...], skip_bad: int) -> PreparedDomain:
    """The domain that is prepared already.

    Raises:
        ValueError: it was prepared otherwise than it is asked for now.
    """
    prepared = PreparedDomain.open(out, table.space, domain)
    manifest = prepared.manifest
    differences = []
    if prepared.splits != splits:
        differences.append(f"with the splits {', '.join(prepared.splits)} instead of {', '.join(splits)}")
    if manifest.label_table != table.version:
        differences.append(f"with another label table, by raydg {manifest.raydg}")
    if len(manifest.skipped) > skip_bad:
        differences.append(f"without {len(manifest.skipped)} bad samples, where {skip_bad} are tolerated now")
    if differences:
        how = " and ".join(differences)
        raise ValueError(f"{prepared.folder} is prepared already, but {how}. Prepare it again with --overwrite.")
    return prepared


def whole_pairs(samples: Sequence[RawSample]) -> tuple[list[RawSample], list[Skipped]]:
    """The samples whose files are all there, and those of which one is missing."""
    whole, missing = [], []
    for sample in samples:
        if not sample.image.is_file():
            partner = f", the image of {sample.label}" if isinstance(sample.label, Path) else ""
            reason = f"{sample.image} is missing{partner}"
        elif isinstance(sample.label, Path) and not sample.label.is_file():
            reason = f"{sample.label} is missing, the label map of {sample.image}"
        else:
            whole.append(sample)
            continue
        missing.append(Skipped(sample.sample_id, sample.split, reason))
    return whole, missing
