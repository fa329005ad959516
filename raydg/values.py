"""Frozen values that check themselves and travel as JSON: the base of every setting in raydg.

A `Value` is a frozen dataclass whose fields may be bool, int, float, str, None, Literal, other Values, unions of
these, and tuples. Construction checks every field against its annotation; `encode` and `decode` are inverse; a Value
is tagged with its class name, which `decode` looks up only among the known subclasses of the type that the field
declares.
"""

import difflib
import hashlib
import json
import types
import typing
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Any, Literal, TypeVar, Union

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None
V = TypeVar("V", bound="Value")

TAG = "class"
PLAIN = (bool, int, float, str)


@dataclass(frozen=True)
class Value:
    """Base of every setting. Subclasses check ranges in `__post_init__`, after `super().__post_init__()`.

    Raises:
        ValueError: a field's value does not fit its annotation.
    """

    def __post_init__(self) -> None:
        for name, hint in hints(type(self)).items():
            object.__setattr__(self, name, conform(getattr(self, name), hint, f"{type(self).__name__}.{name}"))

    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON, hexadecimal: equal in every process for equal values."""
        return fingerprint(encode(self))

    def require(self, condition: bool, field: str, legal: str) -> None:
        """Raise a ValueError that names the field, its value and what is legal, unless `condition` holds."""
        if not condition:
            raise ValueError(f"{type(self).__name__}.{field} is {getattr(self, field)!r}: it must be {legal}.")


@cache
def hints(cls: type) -> dict[str, Any]:
    """Resolved annotations of a Value class's fields, in field order."""
    resolved = typing.get_type_hints(cls)
    return {field.name: resolved[field.name] for field in fields(cls)}


def fingerprint(data: Json) -> str:
    """SHA-256, hexadecimal, of the canonical JSON text (sorted keys, no blanks) of `data`."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def subclasses(base: type) -> Iterator[type]:
    """`base` if it can be instantiated, and every known subclass that can be."""
    if not getattr(base, "__abstractmethods__", None):
        yield base
    for child in base.__subclasses__():
        yield from subclasses(child)


def conform(value: Any, hint: Any, path: str) -> Any:
    """`value` as the annotation `hint` wants it: an int becomes a float and a list a tuple where asked, nothing else
    changes.

    Raises:
        ValueError: it does not fit; the message starts with `path`.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value in arguments and type(value) in map(type, arguments):
            return value
        raise ValueError(f"{path} is {value!r}: it must be one of {', '.join(map(repr, arguments))}.")
    if origin in (Union, types.UnionType):
        for option in arguments:
            try:
                return conform(value, option, path)
            except ValueError:
                continue
        raise ValueError(f"{path} is {value!r} ({type(value).__name__}): it must be {describe(hint)}.")
    if origin is tuple:
        # A row of scores holds thousands of counts: what fits is told at once, what does not is looked for below.
        if (nested := _nested(hint)) and (made := _quickly(value, *nested)) is not None:
            return made
        if not isinstance(value, tuple | list):
            raise ValueError(f"{path} is {value!r} ({type(value).__name__}): it must be {describe(hint)}.")
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            element_hints = (arguments[0],) * len(value)
        elif len(arguments) == len(value):
            element_hints = arguments
        else:
            raise ValueError(f"{path} has {len(value)} elements: it must have {len(arguments)}.")
        return tuple(
            conform(element, element_hint, f"{path}[{i}]")
            for i, (element, element_hint) in enumerate(zip(value, element_hints, strict=True))
        )
    if hint is float and type(value) is int:
        return float(value)
    # bool is a subclass of int, but True is no legal number of steps.
    if isinstance(value, hint) and not (isinstance(value, bool) and hint is not bool):
        return value
    raise ValueError(f"{path} is {value!r} ({type(value).__name__}): it must be {describe(hint)}.")


@cache
def _nested(hint: Any) -> tuple[int, type] | None:
    """Depth and innermost type of `tuple[int, ...]`, `tuple[tuple[int, ...], ...]` and the like; None for others."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is not tuple or len(arguments) != 2 or arguments[1] is not Ellipsis:
        return None
    if arguments[0] in PLAIN:
        return 1, arguments[0]
    inner = _nested(arguments[0])
    return inner and (inner[0] + 1, inner[1])


def _quickly(value: Any, depth: int, leaf: type) -> tuple[Any, ...] | None:
    """Lists or tuples so deep, with nothing but `leaf` in them, as tuples; None for anything else."""
    if not isinstance(value, tuple | list):
        return None
    if depth == 1:
        return tuple(value) if set(map(type, value)) <= {leaf} else None
    made = tuple(_quickly(element, depth - 1, leaf) for element in value)
    return None if None in made else made


def describe(hint: Any) -> str:
    """An annotation in words for error messages and listings: `int or None`, `tuple of float`, `one of 'a', 'b'`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if origin in (Union, types.UnionType):
        return " or ".join(describe(argument) for argument in arguments)
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"tuple of {describe(arguments[0])}"
    if origin is tuple:
        return f"tuple ({', '.join(describe(argument) for argument in arguments)})"
    if hint is type(None):
        return "None"
    return hint.__name__


def encode(value: Any) -> Json:
    """JSON form of a value; every Value becomes an object that carries its class name under "class"."""
    if isinstance(value, Value):
        return {TAG: type(value).__name__} | {field.name: encode(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [encode(element) for element in value]
    return value


def decode(hint: type[V], data: Any, path: str = "") -> V:
    """The value of type `hint` (a Value class, perhaps abstract) whose JSON form is `data`.

    Raises:
        ValueError: unknown class, unknown or missing field, or a field of the wrong type; the message names the path.
    """
    return _decode(hint, data, path or hint.__name__)


def _decode(hint: Any, data: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType) and isinstance(data, dict | list):
        # Only one member of a union may be a Value or a tuple; the others are plain and need no decoding.
        structured = [
            a for a in arguments if typing.get_origin(a) is tuple or (isinstance(a, type) and issubclass(a, Value))
        ]
        return _decode(structured[0], data, path) if structured else conform(data, hint, path)
    if origin is tuple and isinstance(data, list) and not _nested(hint):
        elements = arguments if arguments[-1] is not Ellipsis else (arguments[0],) * len(data)
        if len(elements) == len(data):
            return tuple(_decode(e, d, f"{path}[{i}]") for i, (e, d) in enumerate(zip(elements, data, strict=True)))
    if isinstance(hint, type) and issubclass(hint, Value):
        return _decode_value(hint, data, path)
    return conform(data, hint, path)


def _decode_value(base: type[V], data: Any, path: str) -> V:
    if not isinstance(data, dict) or TAG not in data:
        raise ValueError(f"{path} is {data!r}: it must be a JSON object with a {TAG!r} key.")
    known = {cls.__name__: cls for cls in subclasses(base)}
    if data[TAG] not in known:
        raise ValueError(
            f"{path}: no known {base.__name__} is called {data[TAG]!r}; there are {', '.join(sorted(known))}."
        )
    cls = known[data[TAG]]
    for name in data.keys() - hints(cls).keys() - {TAG}:
        raise ValueError(unknown_field(cls, name, path))
    required = {f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING}
    if missing := required - data.keys():
        raise ValueError(f"{path}: {cls.__name__} needs {', '.join(sorted(missing))}.")
    return cls(**{n: _decode(hints(cls)[n], d, f"{path}.{n}") for n, d in data.items() if n != TAG})


def unknown_field(cls: type[Value], name: str, path: str) -> str:
    """Message for a field that a class does not have, with the nearest name that it does have."""
    names = list(hints(cls))
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"perhaps you meant {near[0]!r}" if near else f"it has {', '.join(names)}"
    return f"{path}: {cls.__name__} has no field {name!r}; {hint}."
