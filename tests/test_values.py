"""Values check themselves and come back from JSON as they were."""

import json
import subprocess
import sys
from abc import ABC
from dataclasses import dataclass
from typing import Literal

import pytest

from raydg.domains.labels import CITYSCAPES_19
from raydg.values import Value, decode, encode


@dataclass(frozen=True)
class Shape(Value, ABC):
    name: str = "shape"


@dataclass(frozen=True)
class Circle(Shape):
    radius: float = 1.0


@dataclass(frozen=True)
class Polygon(Shape):
    corners: tuple[tuple[int, int], ...] = ((0, 0), (1, 0))
    closed: bool = True
    mode: Literal["fill", "line"] = "fill"
    inside: Shape | None = None


@dataclass(frozen=True)
class Counts(Value):
    cells: tuple[tuple[tuple[int, ...], ...], ...] = ()
    shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class Picture(Value):
    shapes: tuple[Shape, ...]
    size: tuple[int, int]
    title: str | None = None


PICTURE = Picture((Circle(radius=2), Polygon(inside=Polygon(mode="line", inside=Circle("x"))), Shape("bare")), (3, 4))


def test_json_round_trip_rebuilds_the_same_value() -> None:
    assert decode(Picture, json.loads(json.dumps(encode(PICTURE)))) == PICTURE


def test_an_integer_becomes_a_float_and_a_list_a_tuple() -> None:
    assert type(Circle(radius=2).radius) is float
    assert Polygon(corners=[[0, 1]]).corners == ((0, 1),)  # type: ignore[arg-type]
    assert Circle(radius=2).fingerprint() == Circle(radius=2.0).fingerprint()


def test_nests_of_plain_elements_come_back_and_become_what_was_asked() -> None:
    counts = Counts(cells=[[[1, 2], []], []], shares=[0.5, 1])  # type: ignore[arg-type]
    assert counts.cells == (((1, 2), ()), ()) and counts.shares == (0.5, 1.0) and type(counts.shares[1]) is float
    assert decode(Counts, json.loads(json.dumps(encode(counts)))) == counts


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Counts(cells=(((1, 2),), ((3, 4.0),))),
            r"Counts\.cells\[1\]\[0\]\[1\] is 4\.0 \(float\): it must be int",
        ),
        (lambda: Counts(cells=((True,),)), r"Counts\.cells\[0\]\[0\] is True \(bool\): it must be tuple of int"),
        (lambda: Counts(cells=(((True,),),)), r"Counts\.cells\[0\]\[0\]\[0\] is True \(bool\): it must be int"),
        (lambda: decode(Counts, {"class": "Counts", "cells": 3}), r"Counts\.cells is 3 \(int\)"),
        (lambda: Circle(radius="wide"), r"Circle\.radius is 'wide' \(str\): it must be float"),
        (lambda: Circle(radius=True), r"Circle\.radius is True \(bool\): it must be float"),
        (lambda: Polygon(closed=1), r"Polygon\.closed is 1 \(int\): it must be bool"),
        (lambda: Polygon(mode="dots"), r"Polygon\.mode is 'dots': it must be one of 'fill', 'line'"),
        (lambda: Polygon(corners=((0, 1), (0, 1, 2))), r"Polygon\.corners\[1\] has 3 elements: it must have 2"),
        (lambda: Picture((3,), (1, 2)), r"Picture\.shapes\[0\] is 3 \(int\): it must be Shape"),
        (lambda: Picture((), (1, 2), title=5), r"Picture\.title is 5 \(int\): it must be str or None"),
    ],
)
def test_a_wrong_type_is_refused_where_it_is(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"class": "Square"},
            r"Picture\.shapes\[0\]: no known Shape is called 'Square'; there are Circle, Polygon, Shape",
        ),
        ({"class": "Picture"}, "no known Shape is called 'Picture'"),
        ({"radios": 3.0}, "Circle has no field 'radios'; perhaps you meant 'radius'"),
        ({"radius": "x"}, r"Picture\.shapes\[0\]\.radius is 'x' \(str\): it must be float"),
    ],
)
def test_bad_json_is_refused_where_it_is(change: dict, message: str) -> None:
    data = encode(PICTURE)
    data["shapes"][0] |= change  # type: ignore[index, call-overload]
    with pytest.raises(ValueError, match=message):
        decode(Picture, data)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ValueError, match="Picture needs shapes, size"):
        decode(Picture, {"class": "Picture"})


def test_fingerprints_are_equal_in_every_process() -> None:
    code = "from raydg.domains.labels import CITYSCAPES_19; print(CITYSCAPES_19.fingerprint())"
    for seed in ("0", "1"):
        printed = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        )
        assert printed.stdout.strip() == CITYSCAPES_19.fingerprint()
