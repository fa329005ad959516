"""The settings of an experiment by their names, and how one is set: by its path, or by class and field."""

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from raydg.adaptation import Choice
from raydg.domains.labels import LabelSpace
from raydg.experiment import Experiment, Study
from raydg.spelling import spelled
from raydg.values import Value, conform, hints


@dataclass(frozen=True)
class Setting:
    """One field somewhere inside a value, as overriding and listings see it."""

    path: str
    """Where it is: `stages.0.method.inner_lr`."""
    keys: frozenset[str]
    """All it answers to: the path, and `MLDG.inner_lr`, `Stage.method.inner_lr` and the like for every class above
    it."""
    owner: type[Value]
    """The class that has the field."""
    hint: Any
    value: Any


def settings(value: Value) -> Iterator[Setting]:
    """Every field inside a value, depth first."""
    yield from _settings(value, "", ())


def _settings(value: Any, path: str, above: tuple[tuple[str, str], ...]) -> Iterator[Setting]:
    """`above` holds, for every Value on the way, the names of its class and bases, each with its path."""
    if isinstance(value, Value):
        names = [cls.__name__ for cls in type(value).__mro__ if issubclass(cls, Value) and cls is not Value]
        above = (*above, *((name, path) for name in names))
        for name, hint in hints(type(value)).items():
            child, at = getattr(value, name), f"{path}.{name}" if path else name
            keys = {at} | {f"{owner}.{at[len(place) :].lstrip('.')}" for owner, place in above}
            yield Setting(at, frozenset(keys), type(value), hint, child)
            # What the data have, hundreds of names and colours; and what competes, which is not set but chosen.
            if not isinstance(child, LabelSpace) and not (isinstance(value, Choice) and name == "candidates"):
                yield from _settings(child, at, above)
    elif isinstance(value, tuple):
        for number, element in enumerate(value):
            yield from _settings(element, f"{path}.{number}", above)


def override(experiment: Experiment, key: str, value: Any) -> Experiment:
    """The experiment with one field set, addressed by path (`stages.0.method.inner_lr`) or class (`MLDG.inner_lr`).

    Args:
        value: of the field's type, or text as typed on a command line (`0.1`, `none`, `[64, 128]`, `pooled`), or, where
            the field holds a value, its code (`IaBN(0.2)`).

    Raises:
        ValueError: the key matches no field or several, or the value does not fit.
    """
    setting = setting_of(experiment, key)
    return _replaced(experiment, setting.path.split("."), parse(value, setting.hint, setting.path))


def setting_of(experiment: Experiment, key: str) -> Setting:
    """The one field that a path or class names.

    Raises:
        ValueError: the key matches no field, with names near it, or several.
    """
    matches = [setting for setting in settings(experiment) if key in setting.keys]
    if len(matches) > 1:
        raise ValueError(f"{key!r} is ambiguous: it could be {', '.join(match.path for match in matches)}.")
    if not matches:
        raise ValueError(_no_such_setting(experiment, key))
    return matches[0]


def override_study(study: Study, key: str, value: Any) -> Study:
    """The study with the field set in every experiment that has it; at least one must."""
    changed = []
    for experiment in study.experiments:
        has = any(key in setting.keys for setting in settings(experiment))
        changed.append(override(experiment, key, value) if has else experiment)
    if tuple(changed) == study.experiments and not any(key in s.keys for e in study.experiments for s in settings(e)):
        raise ValueError(_no_such_setting(study.experiments[0], key))
    return replace(study, experiments=tuple(changed))


def override_all(study: Study, given: Mapping[str, Any]) -> Study:
    """The study with several fields set, in whatever order leads from one legal study to the next.

    Raises:
        ValueError: what `override_study` refuses of the first field that fits in no order.
    """
    while given:
        refused: dict[str, ValueError] = {}
        for key, value in given.items():
            try:
                study = override_study(study, key, value)
            except ValueError as error:
                refused[key] = error
        if len(refused) == len(given):
            raise next(iter(refused.values()))
        given = {key: given[key] for key in refused}
    return study


def parse(value: Any, hint: Any, path: str) -> Any:
    """A value for a field of type `hint`: as it is, or what text from a command line spells, or that text itself.

    Raises:
        ValueError: neither fits; the message starts with `path`.
    """
    if not isinstance(value, str) or hint is str:
        return conform(value, hint, path)
    if isinstance(hint, type) and issubclass(hint, Value):
        try:
            return spelled(value, hint)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    try:
        return conform(_spelled(value), hint, path)
    except ValueError:  # `1.1` spells a number, but is also a version of SqueezeNet
        return conform(value, hint, path)


def _spelled(text: str) -> Any:
    words = {"none": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return float(text)  # `.1` is a number, though not in JSON


def _no_such_setting(experiment: Experiment, key: str) -> str:
    known = sorted({k for setting in settings(experiment) for k in setting.keys})
    near = difflib.get_close_matches(key, known, n=3)
    advice = f"perhaps you meant {' or '.join(near)}" if near else "`train --help` lists them"
    return f"experiment {experiment.name!r} has no setting {key!r}; {advice}."


def _replaced(value: Any, path: list[str], new: Any) -> Any:
    if not path:
        return new
    head, *rest = path
    if isinstance(value, tuple):
        at = int(head)
        return (*value[:at], _replaced(value[at], rest, new), *value[at + 1 :])
    return replace(value, **{head: _replaced(getattr(value, head), rest, new)})
