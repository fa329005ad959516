"""The object world as files, in the layout and with the split lists of PACS."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from raydg.domains.object_world.picture import CLASSES, DOMAINS, folded, render


def write(
    root: Path,
    domains: Sequence[str] = DOMAINS,
    train_per_class: int = 40,
    val_per_class: int = 10,
    seed: int = 0,
    size: int = 96,
) -> None:
    """Write `root`/PACS/<domain>/<class>/<class>_<index>.png and the lists `root`/splits/<domain>_<split>_kfold.txt.

    The splits are train, crossval and test; a line of a list is `<domain>/<class>/<file> <label>`, labels 1 to 7 in the
    order of CLASSES. As in PACS (Li et al., "Deeper, Broader and Artier Domain Generalization", ICCV 2017), train and
    crossval are disjoint and test is their union: the whole domain, for when it is the unseen one.

    Everything random follows from (seed, domain, class, index), and crossval comes first: a larger `train_per_class`
    adds images to a world and changes none.

    `root` appears when it is whole; an interrupted call leaves nothing there.

    Raises:
        ValueError: if `root` exists, a domain is unknown or named twice, or a count or the size is too small.
    """
    if root.exists():
        raise ValueError(f"{root} exists already; remove it, or write the object world to a new folder")
    if not domains or len(set(domains)) < len(domains) or not set(domains) <= set(DOMAINS):
        raise ValueError(f"domains {list(domains)} must be one or more of {', '.join(DOMAINS)}, each once")
    if train_per_class < 1 or val_per_class < 1:
        raise ValueError(
            f"train_per_class={train_per_class} and val_per_class={val_per_class} must both be at least 1: "
            "each split needs an image of every class"
        )
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}-") as staging:
        world = Path(staging) / "world"
        (world / "splits").mkdir(parents=True)
        for domain in domains:
            train, crossval = [], []
            for label, class_name in enumerate(CLASSES, start=1):
                folder = world / "PACS" / domain / class_name
                folder.mkdir(parents=True)
                for index in range(val_per_class + train_per_class):
                    name = f"{class_name}_{index:04d}.png"
                    picture = render(domain, class_name, folded(seed, domain, class_name, index), size)
                    Image.fromarray(picture).save(folder / name)
                    split = crossval if index < val_per_class else train
                    split.append(f"{domain}/{class_name}/{name} {label}\n")
            for split, lines in (("train", train), ("crossval", crossval), ("test", sorted(crossval + train))):
                (world / "splits" / f"{domain}_{split}_kfold.txt").write_text("".join(lines))
        world.rename(root)
