"""The street world on disk, in the ordinary layout of Cityscapes."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from raydg.domains.street_world.domains import DOMAINS
from raydg.domains.street_world.rendering import render
from raydg.seeds import fold


def write(
    root: Path,
    domains: Sequence[str] = DOMAINS,
    train: int = 120,
    val: int = 30,
    seed: int = 0,
    height: int = 128,
    width: int = 256,
) -> None:
    """Render `train` and `val` scenes (height x width pixels) of each domain into a folder of its own, laid out as

        <root>/<domain>/leftImg8bit/<split>/<domain>/<domain>_<sequence>_<frame>_leftImg8bit.png
        <root>/<domain>/gtFine/<split>/<domain>/<domain>_<sequence>_<frame>_gtFine_labelIds.png

    with the domain in the place of the city, sequence 000000 for training and 000001 for validation, so that no two
    scenes share a name, and frames counted from 000000. The same arguments write the same pixels; no two domains,
    splits or frames share a scene's seed. A domain's folder appears when it is whole, or not at all.

    Raises:
        ValueError: a domain that is unknown, or that the root holds already, or a split without a scene.
    """
    for domain in domains:
        if domain not in DOMAINS:
            raise ValueError(f"domain {domain!r} is not part of the street world; choose from {', '.join(DOMAINS)}")
        if (root / domain).exists():
            raise ValueError(f"{root / domain} is there already; remove it, leave {domain!r} out, or give another root")
    for split, scenes in (("train", train), ("val", val)):
        if scenes < 1:
            raise ValueError(f"{split}={scenes} leaves the split empty; give at least 1 scene")
    root.mkdir(parents=True, exist_ok=True)
    for domain in dict.fromkeys(domains):
        with tempfile.TemporaryDirectory(prefix=f".{domain}-", dir=root) as unfinished:
            whole = Path(unfinished) / domain
            for sequence, (split, scenes) in enumerate((("train", train), ("val", val))):
                images, labels = whole / "leftImg8bit" / split / domain, whole / "gtFine" / split / domain
                images.mkdir(parents=True)
                labels.mkdir(parents=True)
                for frame in range(scenes):
                    image, ids = render(domain, fold(seed, "street_world", domain, split, frame), height, width)
                    name = f"{domain}_{sequence:06d}_{frame:06d}"
                    Image.fromarray(image).save(images / f"{name}_leftImg8bit.png")
                    Image.fromarray(ids).save(labels / f"{name}_gtFine_labelIds.png")
            whole.rename(root / domain)
