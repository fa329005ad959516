"""The frozen first layers of an encoder, computed once for every input."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from raydg.models.network import Encoder


class Trunk:
    """Remembers what an encoder's first groups gave for an input, so that further forwards of it need not run them.

    It is exact as long as an output depends on nothing but the input: weights, and statistics to normalise with, that
    stay as they are. So it is under running statistics and under those of each image, which IaBN blends, and not where
    statistics of the batch or drifting ones normalise; the caller decides. What is between the modules (ReLU, pooling,
    sums, sites) is computed again.
    """

    def __init__(self, encoder: Encoder, groups: Sequence[str], full_precision: bool = False) -> None:
        """`groups` are names of the encoder's, without gaps from its first; with `full_precision` autocast does not
        reach them, so that forwards with and without it may share what is remembered."""
        self.encoder = encoder
        names = [name for group, members in encoder.groups if group in groups for name in members]
        self.modules = list(
            dict.fromkeys(m for name in names for m in encoder.get_submodule(name).modules())  # each once
        )
        self.outputs: dict[Any, list[Any]] = {}
        self.depth, self.full_precision = 0, full_precision

    def forget(self) -> None:
        """Drop all outputs: the next image's are others."""
        self.outputs.clear()

    @contextmanager
    def known_as(self, key: Any) -> Iterator[bool]:
        """In this block, one forward of the input that goes by `key`: the first computes and remembers, without a
        gradient, later ones remember. Gives whether it is a later one."""
        known = key in self.outputs
        remembered = self.outputs.setdefault(key, [])
        position = iter(range(len(remembered)))
        for module in self.modules:
            # On the instance, for the block only: hooks and names of the module stay as they are.
            module.__dict__["forward"] = partial(self._run, module.forward, remembered, position if known else None)
        try:
            yield known
        except BaseException:
            del self.outputs[key]
            raise
        finally:
            for module in self.modules:
                del module.__dict__["forward"]

    def _run(
        self,
        forward: Callable[..., Any],
        remembered: list[Any],
        position: Iterator[int] | None,
        *inputs: Any,
        **named: Any,
    ) -> Any:
        """The outermost frozen module that is called stands for all inside it."""
        if self.depth:
            return forward(*inputs, **named)
        if position is not None:
            # A copy, since what follows may work in place.
            return copied(remembered[next(position)])
        self.depth += 1
        try:
            with torch.no_grad(), self._precision():
                output = forward(*inputs, **named)
        finally:
            self.depth -= 1
        remembered.append(copied(output))
        return output

    def _precision(self) -> AbstractContextManager[object]:
        kind = next(self.encoder.parameters()).device.type
        return torch.autocast(kind, enabled=False) if self.full_precision else nullcontext()


def copied(output: Any) -> Any:
    """A copy of a tensor, or of a list or tuple of them."""
    if isinstance(output, Tensor):
        return output.clone()
    if isinstance(output, list | tuple):
        return type(output)(copied(part) for part in output)
    raise TypeError(
        f"A frozen module gave {type(output).__name__}: a tensor, or a list or tuple of them, was expected."
    )
