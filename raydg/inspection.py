"""Shows what is in prepared domains: the manifest in print, and a contact sheet of images with their labels."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table

from raydg.domains.labels import LabelSpace
from raydg.pictures import paint
from raydg.shards import Manifest, PreparedDomain, Sample
from raydg.shards.manifest import MANIFEST
from raydg.storage import Location, Place

CELL = 320
"""Width of a picture on a sheet, in pixels."""

OVERLAY = 0.55
"""Share of the label's colour in an overlay."""

MARGIN, HEAD, LINE = 8, 34, 18

MOST_BARS = 80
"""Classes that a sheet shows the share of."""


def inspect(prepared: Location, sheets: str | Path = ".", images: int = 8) -> list[Path]:
    """Print the manifests of the domains in or below a folder, and write a contact sheet of each.

    Args:
        prepared: folder or URI of a prepared domain, or of several.
        sheets: folder to write into, as `<label space>-<domain>.png`.
        images: how many to show of each split, spread evenly over it.

    Returns:
        the files written.

    Raises:
        ValueError: no prepared domain is there, or it is damaged, or images is below 1.
    """
    if images < 1:
        raise ValueError(f"images is {images}: it must be 1 or more.")
    written = []
    for domain in find(Place.at(prepared)):
        console = Console()
        console.print(facts(domain.manifest))
        console.print(histogram(domain.manifest))
        path = Path(sheets) / f"{domain.label_space.name}-{domain.name.replace('/', '-')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        contact_sheet(domain, images).save(path)
        console.print(f"Contact sheet: {path}\n")
        written.append(path)
    return written


def find(prepared: Place) -> list[PreparedDomain]:
    """The prepared domains in a folder or below it.

    Raises:
        ValueError: there is none.
    """
    below = [path for path in prepared.files() if path == MANIFEST or path.endswith(f"/{MANIFEST}")]
    if not below:
        raise ValueError(f"{prepared} holds no prepared domain (no {MANIFEST} in it or below): see `raydg prepare`.")
    folders = [(prepared / path).parent for path in below]
    return [PreparedDomain(folder, Manifest.read(folder)) for folder in folders]


def facts(manifest: Manifest) -> Table:
    """A manifest in print, without its classes."""
    table = Table(title=f"{manifest.domain}, prepared for {manifest.label_space.name}", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for split in manifest.splits:
        table.add_row(f"split {split.name}", f"{split.num_samples:,} samples in {len(split.shards)} shards")
    for part in manifest.subsets:
        table.add_row(f"subset {part.name}", f"{part.num_samples:,} samples of {part.split}: {part.source}")
    table.add_row("dataset", f"{manifest.dataset}, edition {manifest.edition!r}")
    table.add_row("bytes", f"{manifest.num_bytes:,}")
    table.add_row("stored", stored(manifest))
    for name, left_out in (("skipped", manifest.skipped), ("excluded", manifest.excluded)):
        for sample in left_out[:20]:
            table.add_row(f"{name} {sample.split}/{sample.sample_id}", sample.reason)
        if len(left_out) > 20:
            table.add_row(name, f"and {len(left_out) - 20} more")
    table.add_row("compared with", manifest.contract or "nothing: no contract is known for this dataset")
    for difference in manifest.differences:
        table.add_row("  differs", difference)
    for remark in manifest.remarks:
        table.add_row("  remark", remark)
    if manifest.accepted:
        table.add_row("  accepted", manifest.accepted)
    table.add_row("licence", f"{manifest.licence.terms} Commercial use: {manifest.licence.commercial_use}.")
    table.add_row("cite", manifest.citation)
    table.add_row("content", f"index {manifest.index_sha256[:12]}, label table {manifest.label_table[:12]}")
    table.add_row("made by", f"raydg {manifest.raydg}")
    return table


def stored(manifest: Manifest) -> str:
    """How images are stored, and what that did to them."""
    encoding, parts = manifest.encoding, []
    if encoding.longest_side is not None:
        scaled = sum(split.effect.scaled for split in manifest.splits)
        parts.append(f"longest side at most {encoding.longest_side} pixels ({scaled:,} images scaled down)")
    if encoding.jpeg_quality is not None:
        noise = ", ".join(f"{split.name} {split.effect.psnr:.1f} dB PSNR" for split in manifest.splits)
        parts.append(f"JPEG of quality {encoding.jpeg_quality} ({noise})")
    raw, now = (sum(getattr(split.effect, of) for split in manifest.splits) for of in ("raw_bytes", "stored_bytes"))
    parts.append(f"{now / max(1, raw):.0%} of the raw images' bytes")
    return "; ".join(parts)


def histogram(manifest: Manifest) -> Table:
    """How often every class occurs, split by split."""
    unit = "pixels" if manifest.task == "segmentation" else "images"
    table = Table(title=f"Classes of {manifest.domain}: share of labelled {unit}, and images that show the class")
    table.add_column("class")
    for split in manifest.splits:
        table.add_column(split.name, justify="right")
        table.add_column("images", justify="right")
    for c, name in enumerate(manifest.label_space.classes):
        cells = [(f"{split.frequencies[c]:.2%}", f"{split.class_samples[c]:,}") for split in manifest.splits]
        table.add_row(name, *(cell for pair in cells for cell in pair))
    if manifest.task == "segmentation":
        pixels = [(split.ignored_pixels, split.ignored_pixels + sum(split.class_counts)) for split in manifest.splits]
        shares = [(f"{ignored / max(1, every):.2%}", "") for ignored, every in pixels]
        table.add_row("ignored, of all pixels", *(cell for pair in shares for cell in pair))
    return table


def contact_sheet(domain: PreparedDomain, images: int) -> Image.Image:
    """Images of every split with their labels on them, and beneath how often each class occurs."""
    shown = [
        (split, domain.read(split, position))
        for split in domain.splits
        for position in spread(domain.num_samples(split), images)
    ]
    cells = [cell(sample, domain.label_space, split) for split, sample in shown]
    across = 4
    rows = [cells[i : i + across] for i in range(0, len(cells), across)]
    heights = [max(each.height for each in row) for row in rows]
    legend = bars(domain.manifest, across * (CELL + MARGIN) - MARGIN)
    width = across * (CELL + MARGIN) + MARGIN
    sheet = Image.new("RGB", (width, HEAD + sum(heights) + MARGIN * (len(rows) + 1) + legend.height), "white")
    title = f"{domain.name} · {domain.manifest.num_samples:,} samples · {domain.label_space.name}"
    ImageDraw.Draw(sheet).text((MARGIN, HEAD / 2), title, fill="black", font=ImageFont.load_default(18), anchor="lm")
    top = HEAD
    for row, height in zip(rows, heights, strict=True):
        for i, each in enumerate(row):
            sheet.paste(each, (MARGIN + i * (CELL + MARGIN), top))
        top += height + MARGIN
    sheet.paste(legend, (MARGIN, top))
    return sheet


def spread(total: int, wanted: int) -> list[int]:
    """`wanted` positions of `total`, evenly apart; all if there are no more."""
    return list(range(total)) if total <= wanted else [i * total // wanted for i in range(wanted)]


def cell(sample: Sample, space: LabelSpace, split: str) -> Image.Image:
    """One picture of a sheet: the image, for segmentation over its overlay, for classification under its class."""
    height, width = sample.image.shape[:2]
    size = (CELL, max(1, round(height * CELL / width)))
    photo = Image.fromarray(sample.image).resize(size, Image.Resampling.LANCZOS)
    pictures, caption = [photo], f"{split}/{sample.sample_id}"
    if isinstance(sample.label, int):
        caption = f"{space.classes[sample.label]} · {caption}"
    else:
        labels = np.asarray(Image.fromarray(sample.label).resize(size, Image.Resampling.NEAREST))
        pictures.append(Image.fromarray(overlay(np.asarray(photo), labels, space)))
    picture = Image.new("RGB", (CELL, LINE + size[1] * len(pictures)), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(12)
    while draw.textlength(caption, font=font) > CELL:
        caption = f"…{caption[2:]}"
    draw.text((0, LINE / 2), caption, fill="black", font=font, anchor="lm")
    for i, each in enumerate(pictures):
        picture.paste(each, (0, LINE + i * size[1]))
    return picture


def overlay(photo: np.ndarray, labels: np.ndarray, space: LabelSpace) -> np.ndarray:
    """A photograph (h, w, 3) uint8 through which the colours of its labels (h, w) shine: (h, w, 3) uint8."""
    blended = OVERLAY * paint(labels, space).astype(np.float32) + (1 - OVERLAY) * photo.astype(np.float32)
    return blended.round().astype(np.uint8)


def bars(manifest: Manifest, width: int) -> Image.Image:
    """The classes, each with its colour, its name, and a bar for its share of each split."""
    space, splits = manifest.label_space, manifest.splits
    shown = range(min(MOST_BARS, space.num_classes))
    most = max(share for split in splits for share in split.frequencies)
    font, row = ImageFont.load_default(13), LINE * len(splits) + 6
    columns = min(2, -(-len(shown) // 8))
    rows = -(-len(shown) // columns)
    picture = Image.new("RGB", (width, rows * row + 3 * LINE), "white")
    draw = ImageDraw.Draw(picture)
    unit = "labelled pixels" if manifest.task == "segmentation" else "images"
    draw.text((0, LINE), f"share of the {unit}: {', then '.join(split.name for split in splits)}", "black", font)
    for c in shown:
        left, top = (c // rows) * (width // columns), 2 * LINE + (c % rows) * row
        draw.rectangle((left, top + 4, left + 14, top + 16), fill=space.palette[c])
        draw.text((left + 20, top + 2), space.classes[c], "black", font)
        for i, split in enumerate(splits):
            share, y = split.frequencies[c], top + i * LINE
            end = left + 150 + (width // columns - 230) * share / most if most else left + 150
            draw.rectangle((left + 150, y + 4, end, y + 14), fill=space.palette[c])
            draw.text((end + 6, y + 2), f"{share:.2%}", "black", font)
    rest = f"{space.num_classes - len(shown)} more classes, " if len(shown) < space.num_classes else ""
    if manifest.task == "segmentation":
        ignored = ", ".join(f"{s.ignored_pixels / max(1, s.ignored_pixels + sum(s.class_counts)):.2%}" for s in splits)
        rest += f"ignored (black): {ignored} of all pixels"
    draw.text((0, 2 * LINE + rows * row), rest, "black", font)
    return picture
