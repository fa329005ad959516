"""HTML text from Python values: what is not `Markup` is escaped."""

import base64
import html
import io
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from raydg.charts import Chart
from raydg.domains.labels import IGNORE, LabelSpace

VOID = {"img", "input", "meta", "br"}


class Markup(str):
    """Text that is HTML already."""


def element(name: str, *content: str | None, **attributes: str | int | bool | None) -> Markup:
    """An element; None among its content is nothing. Attributes that are None or False are left out, True stands alone,
    and of their names a trailing `_` goes and other `_` become `-`."""
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{html.escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Markup(f"<{name}{written}>" + ("" if name in VOID else f"{joined(content)}</{name}>"))


def joined(content: Iterable[str | None]) -> Markup:
    """Parts in a row, escaped where they are plain text."""
    return Markup("".join(each if isinstance(each, Markup) else html.escape(each or "") for each in content))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> Markup:
    """A table that scrolls in its box where it is too wide; the first `words` columns hold text, the others numbers."""
    kinds = ["word"] * words + ["number"] * (len(header) - words)
    head = element("tr", *(element("th", text, class_=kind) for text, kind in zip(header, kinds, strict=True)))
    body = [
        element("tr", *(element("td", text, class_=kind) for text, kind in zip(row, kinds, strict=True)))
        for row in rows
    ]
    return element(
        "div", element("table", element("thead", head), element("tbody", *body)), class_="scroll", tabindex=0
    )


def bullets(texts: Iterable[str]) -> Markup:
    return element("ul", *(element("li", text) for text in texts))


def figure(chart: Chart, title: str | None = None, caption: str | None = None) -> Markup:
    """A chart under its title, with its legend and what there is to say of it."""
    keys = [
        element(
            "span",
            Markup(f'<i class="{"dash" if key.dashed else "key"}" style="--c:{key.colour};opacity:{key.opacity}"></i>'),
            key.name,
        )
        for key in chart.legend
    ]
    return element(
        "figure",
        element("h4", title) if title else None,
        Markup(chart.svg),
        element("div", *keys, class_="legend") if keys else None,
        element("figcaption", caption) if caption else None,
    )


def figures(made: Sequence[Markup], open_: int = 12) -> Markup:
    """Figures side by side where there is room; those past the first `open_` are folded away."""
    shown = element("div", *made[:open_], class_="figures")
    if len(made) <= open_:
        return shown
    rest = element("div", *made[open_:], class_="figures")
    return joined([shown, element("details", element("summary", f"{len(made) - open_} more"), rest)])


WIDTH = 320
"""Of a picture on the page, px."""


def photo(pixels: np.ndarray, text: str) -> Markup:
    """An image (h, w, 3) uint8 as an <img> that holds its own bytes."""
    return _image(Image.fromarray(pixels), Image.Resampling.LANCZOS, "jpeg", text, quality=82)


def label_map(labels: np.ndarray, space: LabelSpace, text: str) -> Markup:
    """Class ids (h, w) in the label space's colours; `IGNORE` is black."""
    picture = Image.fromarray(labels.astype(np.uint8), "P")
    colours = np.zeros((256, 3), np.uint8)
    colours[: space.num_classes] = space.palette
    colours[IGNORE] = 0
    picture.putpalette(colours.tobytes())
    return _image(picture, Image.Resampling.NEAREST, "png", text, optimize=True)


def _image(picture: Image.Image, resampling: Image.Resampling, kind: str, text: str, **options: int | bool) -> Markup:
    if picture.width > WIDTH:
        picture = picture.resize((WIDTH, max(1, round(picture.height * WIDTH / picture.width))), resampling)
    held = io.BytesIO()
    picture.save(held, kind, **options)
    source = f"data:image/{kind};base64,{base64.b64encode(held.getvalue()).decode()}"
    return element("img", src=source, alt=text, title=text, width=picture.width, height=picture.height)
