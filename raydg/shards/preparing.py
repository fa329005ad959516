"""Prepares domains: plans shards, has any number of processes write them, puts a domain in place when it is whole."""

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from pyarrow.fs import FileInfo

from raydg.domains.dataset import Dataset, Edition, RawSample
from raydg.domains.labels import LabelSpace
from raydg.shards.draft import OURS, Draft, check_bad, check_differences
from raydg.shards.encoding import Encoding
from raydg.shards.manifest import MANIFEST, Manifest, Skipped
from raydg.shards.reading import PreparedDomain
from raydg.shards.writing import ShardReport, ShardTask, report_name, write_shard
from raydg.storage import UNFINISHED, Location, Place, stat

RunTasks = Callable[[Callable[[ShardTask], ShardReport], Sequence[ShardTask]], Iterable[ShardReport]]
"""Maps `write_shard` over tasks, results in order: builtin `map`, or the same on a cluster."""


@dataclass(frozen=True)
class Preparation:
    """A prepared domain, and whether this call wrote it or found it there."""

    domain: PreparedDomain
    written: bool
    resumed: int = 0
    """Shards that an earlier, unfinished preparation had written already."""


def prepare_domains(
    dataset: Dataset,
    domains: Sequence[str],
    raw: Location,
    out: Location,
    label_space: LabelSpace,
    splits: Sequence[str] | None = None,
    *,
    edition: str | None = None,
    encoding: Encoding | None = None,
    skip_bad: int = 0,
    accept_difference: str | None = None,
    overwrite: bool = False,
    run_tasks: RunTasks = map,
) -> list[Preparation]:
    """Prepare domains of a dataset under `out`; what is prepared already stays as it is, unread.

    A domain is there when its manifest is, which is written last. What an error, an interrupt or a kill leaves of it is
    taken up again by the next call that asks for the same; the domains before it stay. Two processes may prepare the
    same domain at once if they are asked for the same.

    Args:
        dataset: entry of the catalogue.
        domains: some of its domains.
        raw: folder in the dataset's own layout.
        out: folder of the prepared domains; on a cluster both are folders that every node sees, or URIs.
        label_space: one that the dataset has a table for.
        splits: which to prepare; None: all.
        edition: how to read `raw`; None: as the edition that most of its files fit.
        encoding: how images are stored; None: as they came.
        skip_bad: samples of a domain that may be unusable (file missing or truncated, sizes that differ, unknown id);
            they are left out and listed in the manifest.
        accept_difference: why a copy that differs from the dataset's contract is what is wanted; the manifest keeps it.
        overwrite: prepare anew what is prepared already.
        run_tasks: where shards are written.

    Raises:
        ValueError: more bad samples than tolerated; a layout that is not the dataset's; a copy that differs from the
            dataset's contract; a split without samples; a domain that is prepared already, but otherwise than asked.
    """
    raw, out, encoding = Place.at(raw), Place.at(out), encoding or Encoding()
    if skip_bad < 0:
        raise ValueError(f"skip_bad is {skip_bad}: it must be 0 or more.")
    if accept_difference is not None and not accept_difference.strip():
        raise ValueError("accept_difference is empty: it must say why the difference is accepted.")
    if not domains or len(set(domains)) < len(domains) or not set(domains) <= set(dataset.domains):
        legal = ", ".join(dataset.domains)
        raise ValueError(
            f"domains of {dataset.name} are {list(domains)}: they must be one or more of {legal}, each once."
        )
    asked = dataset.edition(edition) if edition is not None else None
    planned: list[PreparedDomain | Draft] = []
    for domain in domains:
        folder = out / label_space.name / domain
        there = folder.files(recursive=False)
        if MANIFEST in there and not overwrite:
            planned.append(existing(dataset, domain, out, label_space, splits, asked, encoding, skip_bad))
            continue
        strangers = [name for name in there if not (OURS.fullmatch(name) or name.endswith(UNFINISHED))]
        if MANIFEST not in there and strangers:
            raise ValueError(
                f"{folder} is in the way, and no prepared domain (it holds {strangers[0]}): remove it, or choose "
                "another out folder."
            )
        chosen = asked or dataset.recognise(raw, domain)
        wanted = chosen.chosen_splits(splits)
        samples = chosen.list_samples(raw, domain, wanted)
        files = known_files(samples)
        complete, missing = whole_pairs(samples, files)
        check_bad(domain, missing, skip_bad)
        differences = differences_of_lists(chosen, domain, wanted, samples)
        check_differences(domain, differences, accept_difference)
        planned.append(
            Draft(
                dataset=dataset,
                edition=chosen,
                domain=domain,
                table=chosen.label_table(label_space, raw),
                splits=wanted,
                samples=complete,
                files=files,
                listed={split: [s.sample_id for s in samples if s.split == split] for split in wanted},
                missing=missing,
                differences=differences,
                accept_difference=accept_difference,
                encoding=encoding,
                skip_bad=skip_bad,
                folder=folder,
                generation=next_generation(folder) if MANIFEST in there else 0,
            )
        )
    finished = {draft.domain: finished_shards(draft) for draft in planned if isinstance(draft, Draft)}
    tasks = [
        task
        for draft in planned
        if isinstance(draft, Draft)
        for task in draft.tasks
        if task.name not in finished[draft.domain]
    ]
    done: list[Preparation] = []
    with closing(stream(run_tasks, tasks)) as reports:
        for plan in planned:
            if isinstance(plan, Draft):
                before = finished[plan.domain]
                prepared = plan.finish(in_order(plan.tasks, before, reports))
                done.append(Preparation(prepared, written=True, resumed=len(before)))
            else:
                done.append(Preparation(plan, written=False))
    return done


def stream(run_tasks: RunTasks, tasks: Sequence[ShardTask]) -> Generator[ShardReport, None, None]:
    """Reports in the order of the tasks. Closing it closes what runs them."""
    if tasks:
        yield from run_tasks(write_shard, tasks)


def in_order(
    tasks: Sequence[ShardTask], before: dict[str, ShardReport], reports: Iterator[ShardReport]
) -> Iterator[ShardReport]:
    """The reports of all tasks, those of an earlier preparation in their places."""
    for task in tasks:
        report = before.get(task.name) or next(reports, None)
        if report is not None:
            yield report


def next_generation(folder: Place) -> int:
    """The generation of a domain that is to take the place of the one in `folder`, whose manifest may be unusable."""
    try:
        return Manifest.read(folder).generation + 1
    except ValueError:
        # Any number that its files do not have in their names, the same for the next try.
        return int(hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()[:8], 16)


def finished_shards(draft: Draft) -> dict[str, ShardReport]:
    """Reports of the draft's shards that an earlier preparation finished, and that are there."""
    there = draft.folder.files(recursive=False)
    reports = [ShardReport.read(draft.folder, task.name) for task in draft.tasks if report_name(task.name) in there]
    return {report.name: report for report in reports if whole(report.name, report.num_bytes, there)}


def whole(name: str, num_bytes: int, there: Mapping[str, FileInfo]) -> bool:
    """Whether a shard is among the files of a folder, as long as it was written; one without rows has no file."""
    return num_bytes == 0 or (name in there and there[name].size == num_bytes)


def existing(
    dataset: Dataset,
    domain: str,
    out: Place,
    label_space: LabelSpace,
    splits: Sequence[str] | None,
    asked: Edition | None,
    encoding: Encoding,
    skip_bad: int,
) -> PreparedDomain:
    """The domain that is prepared already.

    Raises:
        ValueError: it was prepared otherwise than it is asked for now.
    """
    prepared = PreparedDomain.open(out, label_space, domain)
    manifest = prepared.manifest
    edition = asked or next((each for each in dataset.editions if each.name == manifest.edition), dataset.editions[0])
    wanted = edition.chosen_splits(splits)
    differences = []
    there = prepared.folder.files(recursive=False)
    lost = [s.name for split in manifest.splits for s in split.shards if not whole(s.name, s.num_bytes, there)]
    if lost:
        differences.append(f"{len(lost)} of its shards are missing or cut short, such as {lost[0]}")
    if edition.name != manifest.edition:
        differences.append(f"from the edition {manifest.edition!r} instead of {edition.name!r}")
    if prepared.splits != wanted:
        differences.append(f"with the splits {', '.join(prepared.splits)} instead of {', '.join(wanted)}")
    if manifest.label_table != edition.table(label_space).version:
        differences.append(f"with another label table, by raydg {manifest.raydg}")
    if manifest.encoding != encoding:
        differences.append(f"stored as {manifest.encoding} instead of {encoding}")
    if len(manifest.skipped) > skip_bad:
        differences.append(f"without {len(manifest.skipped)} bad samples, where {skip_bad} are tolerated now")
    if differences:
        how = " and ".join(differences)
        raise ValueError(f"{prepared.folder} is prepared already, but {how}. Prepare it again with --overwrite.")
    return prepared


def differences_of_lists(
    edition: Edition, domain: str, splits: Sequence[str], samples: Sequence[RawSample]
) -> list[str]:
    """In what the samples found differ from the edition's contract, split by split."""
    if edition.contract is None:
        return []
    return [
        difference
        for split in splits
        for difference in edition.contract.differences_of_list(
            domain, split, [sample.sample_id for sample in samples if sample.split == split]
        )
    ]


def known_files(samples: Sequence[RawSample]) -> dict[Place, FileInfo]:
    """Size and time of the files of the samples that are there."""
    places = [sample.image for sample in samples]
    places += [sample.label for sample in samples if isinstance(sample.label, Place)]
    return {place: info for place, info in zip(places, stat(places), strict=True) if info is not None}


def whole_pairs(samples: Sequence[RawSample], files: dict[Place, FileInfo]) -> tuple[list[RawSample], list[Skipped]]:
    """The samples whose files are all there, and those of which one is missing."""
    complete, missing = [], []
    for sample in samples:
        if sample.image not in files:
            partner = f", the image of {sample.label}" if isinstance(sample.label, Place) else ""
            reason = f"{sample.image} is missing{partner}"
        elif isinstance(sample.label, Place) and sample.label not in files:
            reason = f"{sample.label} is missing, the label map of {sample.image}"
        else:
            complete.append(sample)
            continue
        missing.append(Skipped(sample.sample_id, sample.split, reason))
    return complete, missing
