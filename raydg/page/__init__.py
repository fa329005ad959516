"""A study as one self-contained HTML page: what was scored in tables and charts, and what networks make of images."""

from collections.abc import Callable
from pathlib import Path

from raydg import analysis
from raydg.checkpoint import write_whole
from raydg.page import sections
from raydg.page.evidence import Evidence, gather
from raydg.page.page import page
from raydg.page.sections import Section

__all__ = ["Evidence", "analyse", "gather", "write"]


def write(
    evidence: Evidence,
    out: Path,
    pictures: int = 4,
    embedding: bool = False,
    device: str = "cpu",
    watch: Callable[[str], None] = lambda text: None,
) -> None:
    """Write the page of a study, whole or not at all. Sections that have nothing to show are left out, and named.

    Args:
        evidence: what was found of it.
        out: the file.
        pictures: images of every target that each way predicts; 0 runs no network.
        embedding: whether networks are run for a t-SNE of their features.
        device: where networks run.
        watch: told what networks are run for.

    Raises:
        ValueError: a negative number of pictures.
    """
    # Only here: these need torch's networks and PIL, which a page without pictures does not.
    from raydg.page.embedding import embeddings
    from raydg.page.pictures import extremes, grids

    if pictures < 0:
        raise ValueError(f"The number of pictures is {pictures}: it must be 0 or more.")
    made: list[tuple[str, Section | None]] = [
        ("scores: nothing is scored yet, run `evaluate`", sections.scores(evidence)),
        ("scores by class: need target scores", sections.per_class(evidence)),
        ("calibration: needs target scores", sections.calibration(evidence)),
        ("runtime: needs two ways that were timed", sections.trade_offs(evidence)),
        (
            f"settings of adaptations: need {sections.FEWEST_VALUES} values of one number, all else being equal",
            sections.adaptation_curves(evidence),
        ),
        (
            f"settings of training: need experiments with {sections.FEWEST_VALUES} values of one setting, all else "
            "being equal",
            sections.training_factors(evidence),
        ),
        ("searches: there is no sweep-*/trials.json with scores", sections.sweeps(evidence)),
        (
            "image by image: needs two ways with records of every image that differ",
            sections.image_differences(evidence),
        ),
        (
            "largest gains and losses: need the same, pictures (--pictures), checkpoints and prepared targets",
            extremes(evidence, device, watch) if pictures else None,
        ),
        (
            "pictures: need --pictures, checkpoints and prepared targets",
            grids(evidence, pictures, device, watch) if pictures else None,
        ),
        (
            "rare and frequent classes: need two ways that differ and all prepared sources",
            sections.frequencies(evidence),
        ),
        ("checkpoints: no validation scores are there", sections.validation(evidence)),
        ("training: no run has a record of its steps", sections.training(evidence)),
        ("sources and targets over training: need --analysis", sections.analysis(evidence)),
        (
            "embedding: needs --embedding, checkpoints and prepared domains",
            embeddings(evidence, device, watch) if embedding else None,
        ),
        ("cost: nothing was timed", sections.costs(evidence)),
        ("licences: there is no checkpoint that names them", sections.licences(evidence)),
        ("experiments: there is no study.json", sections.settings_of(evidence)),
    ]
    shown = [section for _, section in made if section]
    missing = [why for why, section in made if section is None]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, page(evidence, shown, missing))


def analyse(
    evidence: Evidence, data: str, device: str = "cpu", watch: Callable[[str], None] = lambda text: None
) -> None:
    """Score every checkpoint on its sources, and on targets that have been scored after selection: see raydg.analysis.

    A target is looked at only in the splits that its selected checkpoint was scored on, and only once that was done.
    """
    for judged in evidence.judged:
        splits = {row.domain: tuple(row.split.split("+")) for row in judged.targets}
        if not splits:
            watch(f"{judged.label} is not scored yet, and so not analysed")
            continue
        analysis.analyse(
            judged.experiment,
            judged.folder,
            data,
            splits,
            device,
            lambda row, label=judged.label: watch(f"analysis of {label}: step {row.step} on {row.domain}"),
        )
