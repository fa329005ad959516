"""A value from its code as it is typed on a command line, `IaBN(instance_weight=0.1)`. `raydg.overview.code` is the way
back."""

import ast
from dataclasses import fields
from typing import TypeVar

from raydg.values import TAG, Json, Value, decode, subclasses

V = TypeVar("V", bound=Value)


def spelled(text: str, base: type[V]) -> V:
    """The value of a known subclass of `base` that `text` constructs; nothing is run.

    Arguments are literals (numbers, strings, None, True, False, tuples, lists) and constructor calls of other values;
    a class name alone stands for its defaults.

    Raises:
        ValueError: text that is no such call, a class that is no `base` (the message lists those there are), or fields
            that the class refuses.
    """
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        raise ValueError(f"{text!r} is not the constructor call of a value: {_example(base)}.") from None
    if not isinstance(call, ast.Call | ast.Name):
        raise ValueError(f"{text!r} is not the constructor call of a value: {_example(base)}.")
    return decode(base, _data(call, text))


def _example(base: type[Value]) -> str:
    names = sorted(cls.__name__ for cls in subclasses(base))
    return f"write {names[0]}(...), with one of {', '.join(names)}" if names else f"no {base.__name__} is known"


def _data(node: ast.expr, text: str) -> Json:
    """The JSON form of an expression, which `decode` reads."""
    if isinstance(node, ast.Name):
        return {TAG: node.id}
    if isinstance(node, ast.Tuple | ast.List):
        return [_data(element, text) for element in node.elts]
    if not isinstance(node, ast.Call):
        try:
            literal = ast.literal_eval(node)
        except ValueError:
            raise ValueError(f"{text!r}: {ast.unparse(node)} is neither a literal nor a constructor call.") from None
        if literal is not None and not isinstance(literal, bool | int | float | str):
            raise ValueError(f"{text!r}: {ast.unparse(node)} is no number, string, None, True, False or tuple.")
        return literal
    if not isinstance(node.func, ast.Name):
        raise ValueError(f"{text!r}: {ast.unparse(node.func)} is no class name.")
    name = node.func.id
    known = {cls.__name__: cls for cls in subclasses(Value)}
    # Of an unknown class nothing is known; `decode` then says which ones there are.
    places = [field.name for field in fields(known[name]) if not field.kw_only] if name in known else []
    if name not in known and node.args:
        places = [str(number) for number, _ in enumerate(node.args)]
    if len(node.args) > len(places):
        raise ValueError(f"{text!r}: {name} takes {len(places)} arguments by place; name the others.")
    given: dict[str, Json] = {TAG: name}
    named = [(keyword.arg, keyword.value) for keyword in node.keywords]
    for field, value in [*zip(places, node.args, strict=False), *named]:
        if field is None or isinstance(value, ast.Starred):
            raise ValueError(f"{text!r}: arguments must be written out, without * or **.")
        if field in given:
            raise ValueError(f"{text!r}: {name} is given {field!r} twice.")
        given[field] = _data(value, text)
    return given
