"""Which sites a network has, known before it is built."""

from functools import cache

import torch

from raydg.models.architecture import Architecture


@cache
def sites_of(model: Architecture) -> tuple[str, ...]:
    """Names of the sites of an architecture's networks, in the order of their forward."""
    with torch.device("meta"):
        return tuple(model.assemble(num_classes=2).sites)


def check_sites(method: str, wanted: tuple[str, ...] | None, known: tuple[str, ...]) -> None:
    """Raise a ValueError if a network with the sites `known` has not all that a method wants (None: any), or none."""
    strangers = [name for name in wanted or () if name not in known]
    if strangers or not known:
        raise ValueError(
            f"{method}.sites names {', '.join(strangers) or 'all sites'}: the network has {', '.join(known) or 'none'}."
        )
