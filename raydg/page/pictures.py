"""Pictures: what the ways of a study predict of the same images, for which networks are run; and a page of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from raydg.evaluation import Row
from raydg.experiment import Experiment
from raydg.page.evidence import Evidence, Judged, Way
from raydg.page.markup import Markup, element, joined, label_map, photo
from raydg.page.sections import Section, difference
from raydg.protocol import Protocol
from raydg.scoring import at_size, fit, scoring_batches, shown
from raydg.shards import PreparedDomain

Place = tuple[str, int]
"""Split and position of an image in its domain."""

MOST_VALUES = 12
"""Different values of an attribute that a filter offers."""

EXTREMES = 2
"""Images of the largest gain, and as many of the largest loss."""

MOST_COMPARISONS = 3
"""Pairs of ways whose extremes are shown."""

GIVEN = ("image", "truth")
"""What stands before predictions."""

Watch = Callable[[str], None]
"""Told what networks are run for."""


@dataclass(frozen=True)
class Predicted:
    """What one way makes of one image."""

    classes: np.ndarray | int
    """(h, w) class ids at the size of the label that is judged, or the class of the image."""
    confidence: float | None
    """Probability of the class of an image; None for maps."""


def predictions(
    judged: Judged, row: Row, data: PreparedDomain, places: Iterable[Place], device: str | torch.device = "cpu"
) -> dict[Place, Predicted]:
    """What the selected checkpoint predicts of some images in the way of a row, in the batches that it was scored in,
    so that pictures show what the scores count; where it keeps its state, all images before them are predicted too.

    Raises:
        ValueError: the checkpoint is gone.
    """
    experiment, wanted = judged.experiment, set(places)
    checkpoint = judged.folder.checkpoint_at(row.step)
    inference = next(i for i in experiment.scored_inferences if i.label == row.inference)
    adaptation, variant = judged.adaptation(row)
    splits = tuple(row.split.split("+"))
    protocol = experiment.scored_protocol
    predictor = adaptation.predictor(checkpoint.network(device, inference, row.domain))
    weight = next(predictor.network.parameters())
    if adaptation.needs_fit:
        fit(predictor, data, splits, adaptation, protocol, weight.device, weight.dtype)
    made: dict[Place, Predicted] = {}
    for batch in scoring_batches(data, splits, adaptation, protocol, experiment.seed, row.order):
        here = [(batch.split, position) for position in batch.positions]
        if wanted <= made.keys():
            break
        if not adaptation.keeps_state and not wanted.intersection(here):
            continue
        samples = [data.read(*place) for place in here]
        images = shown([sample.image for sample in samples], protocol, weight.device, weight.dtype)
        probabilities = protocol.predict(predictor, images)[variant]
        for place, sample, one in zip(here, samples, probabilities, strict=True):
            if place not in wanted:
                continue
            if isinstance(sample.label, int):
                made[place] = Predicted(int(one.argmax()), float(one.max()))
            else:
                height, width = protocol.truth(sample.label).shape
                made[place] = Predicted(at_size(one[None], (height, width))[0].argmax(0).cpu().numpy(), None)
    return made


def given(domain: PreparedDomain, place: Place, protocol: Protocol) -> tuple[np.ndarray, np.ndarray | int]:
    """An image (h, w, 3) uint8, cut where the protocol cuts it, and the label map or class that counts."""
    sample = domain.read(*place)
    seen = sample.image
    if protocol.cuts:
        pixels = protocol.image(torch.from_numpy(sample.image).permute(2, 0, 1)[None].float() / 255)
        seen = (pixels[0].permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()
    return seen, sample.label if isinstance(sample.label, int) else protocol.truth(sample.label)


def chosen(domain: PreparedDomain, splits: Sequence[str], number: int) -> list[Place]:
    """So many images, spread evenly over the splits, and one more of every value of an attribute that none of them
    has."""
    every = [(split, position) for split in splits for position in range(domain.num_samples(split))]
    spread = np.unique(np.linspace(0, len(every) - 1, min(number, len(every))).round().astype(int))
    picked = [every[i] for i in spread]
    attributes = attributes_of(domain, every)
    seen = {pair for place in picked for pair in attributes[place].items()}
    few = {key for key, values in _values(attributes.values()).items() if len(values) <= MOST_VALUES}
    for place in every:
        new = {pair for pair in attributes[place].items() if pair[0] in few} - seen
        if new:
            picked.append(place)
            seen |= set(attributes[place].items())
    return sorted(picked, key=every.index)


def attributes_of(domain: PreparedDomain, places: Sequence[Place]) -> dict[Place, dict[str, str]]:
    """What the dataset says of images, such as the weather."""
    by_split = {split: domain.attributes(split) for split in dict.fromkeys(split for split, _ in places)}
    return {(split, position): by_split[split][position] for split, position in places}


def _values(attributes: Iterable[dict[str, str]]) -> dict[str, list[str]]:
    found: dict[str, dict[str, None]] = {}
    for each in attributes:
        for key, value in each.items():
            found.setdefault(key, {})[value] = None
    return {key: sorted(values) for key, values in found.items()}


def grids(evidence: Evidence, number: int, device: str, watch: Watch) -> Section | None:
    """Image, truth and every way's prediction, on the same images of every target; rows may be filtered by the images'
    attributes."""
    parts = []
    for target in evidence.targets:
        ways = _shown(evidence, target)
        if not ways or target not in evidence.domains:
            continue
        domain = evidence.domains[target]
        first = ways[0][1].experiment
        places = chosen(domain, ways[0][2].split.split("+"), number)
        watch(f"pictures of {target}: {len(places)} images, {len(ways)} ways")
        attributes = attributes_of(domain, places)
        columns = {
            evidence.text(way): _cells(evidence, way, judged, row, domain, places, device) for way, judged, row in ways
        }
        rows = []
        for place in places:
            given = {f"data-{_name(key)}": value for key, value in attributes[place].items()}
            about = ", ".join(f"{key} {value}" for key, value in attributes[place].items())
            cells = [*_given(domain, first, place, about), *(column[place] for column in columns.values())]
            rows.append(element("tr", *(element("td", cell) for cell in cells), class_="shot", **given))
        heads = [*GIVEN, *columns]
        parts += [
            element("h3", target) if len(evidence.targets) > 1 else None,
            _filters(_values(attributes.values())),
            _grid(heads, rows),
        ]
    if not parts:
        return None
    note = (
        "The first seed of every experiment, in the batches that scores were counted in; below each prediction the "
        "score of the image."
    )
    return Section("Pictures", joined([element("p", note, class_="notes"), *parts]))


def extremes(evidence: Evidence, device: str, watch: Watch) -> Section | None:
    """The images that gain and lose most between a way and another."""
    parts = []
    for target in evidence.targets:
        if target not in evidence.domains:
            continue
        domain = evidence.domains[target]
        there = {way: (judged, row) for way, judged, row in _shown(evidence, target)}
        shown_pairs = 0
        for base, other in evidence.comparisons(target):
            gains = difference(evidence, base, other, target)
            if base not in there or other not in there or not any(gains.values()) or shown_pairs == MOST_COMPARISONS:
                continue
            shown_pairs += 1
            order = sorted(gains, key=lambda name: gains[name])
            picked = [name for name in order[::-1][:EXTREMES] if gains[name] > 0]
            picked += [name for name in order[:EXTREMES] if gains[name] < 0]
            places = [_place(domain, name) for name in picked]
            watch(f"largest gains and losses on {target}: {evidence.text(other)} against {evidence.text(base)}")
            columns = [_cells(evidence, way, *there[way], domain, places, device) for way in (base, other)]
            rows = []
            for name, place in zip(picked, places, strict=True):
                cells = [*_given(domain, there[base][0].experiment, place, ""), *(column[place] for column in columns)]
                cells.append(Markup(f'<b class="{"gain" if gains[name] > 0 else "loss"}">{gains[name]:+.1f}</b>'))
                rows.append(element("tr", *(element("td", cell) for cell in cells)))
            heads = [*GIVEN, evidence.text(base), evidence.text(other), "points"]
            parts += [
                element("h3", f"{evidence.text(other)} against {evidence.text(base)}, {target}"),
                _grid(heads, rows),
            ]
    return Section("Largest gains and losses", joined(parts)) if parts else None


def _shown(evidence: Evidence, target: str) -> list[tuple[Way, Judged, Row]]:
    """Every way on a target with its first row, as far as its checkpoint is there; experiments with the first's label
    space."""
    found = []
    for way, by_target in evidence.ways.items():
        for judged, row in by_target.get(target, ())[:1]:
            # What a choice came to may have another checkpoint than the selected one.
            there = row.step in [checkpoint.step for checkpoint in judged.folder.checkpoints()]
            if there and (not found or judged.experiment.label_space == found[0][1].experiment.label_space):
                found.append((way, judged, row))
    return found


def _cells(
    evidence: Evidence,
    way: Way,
    judged: Judged,
    row: Row,
    domain: PreparedDomain,
    places: Sequence[Place],
    device: str,
) -> dict[Place, Markup]:
    """Pictures of a way's predictions with the score of each image below."""
    found, scores, space = predictions(judged, row, domain, places, device), judged.per_image(row), domain.label_space
    cells = {}
    for place in places:
        text, score = evidence.text(way), scores.get(_image_name(domain, place))
        one = found[place]
        if isinstance(one.classes, int):
            cells[place] = element("span", f"{space.classes[one.classes]} {one.confidence:.0%}")
        else:
            below = "" if score is None or not np.isfinite(score) else f"{score:.1f}"
            cells[place] = joined([label_map(one.classes, space, text), element("small", below)])
    return cells


def _given(domain: PreparedDomain, experiment: Experiment, place: Place, about: str) -> list[Markup]:
    """The image as the network is shown it, and its truth."""
    seen, truth = given(domain, place, experiment.scored_protocol)
    name = element("small", ", ".join(filter(None, [_image_name(domain, place), about])))
    cells = [joined([photo(seen, _image_name(domain, place)), name])]
    if isinstance(truth, int):
        return [*cells, element("span", domain.label_space.classes[truth])]
    return [*cells, label_map(truth, domain.label_space, "truth")]


def _grid(heads: Sequence[str], rows: Sequence[Markup]) -> Markup:
    head = element("tr", *(element("th", head) for head in heads))
    grid = element("table", element("thead", head), element("tbody", *rows), class_="pictures")
    return element("div", grid, class_="scroll", tabindex=0)


def _filters(values: dict[str, list[str]]) -> Markup | None:
    """A choice for every attribute that tells these images apart."""
    choices = [
        element(
            "label",
            f"{key} ",
            element(
                "select",
                element("option", "all", value=""),
                *(element("option", value, value=value) for value in of),
                data_filter=_name(key),
            ),
        )
        for key, of in values.items()
        if 1 < len(of) <= MOST_VALUES
    ]
    return element("p", *choices, class_="filters") if choices else None


def _name(key: str) -> str:
    """An attribute's name as part of an HTML attribute's."""
    return "of-" + "".join(c if c.isalnum() and c.isascii() else "-" for c in key.lower())


def _image_name(domain: PreparedDomain, place: Place) -> str:
    """As records call it."""
    return f"{place[0]}/{domain.sample_ids(place[0])[place[1]]}"


def _place(domain: PreparedDomain, image: str) -> Place:
    split, _, sample_id = image.partition("/")
    return split, domain.sample_ids(split).index(sample_id)
