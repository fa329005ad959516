"""One page of a study: HTML that holds everything it shows."""

from collections.abc import Sequence
from pathlib import Path

from raydg.page.evidence import Evidence
from raydg.page.markup import Markup, bullets, element, joined
from raydg.page.sections import Section

STYLE, SCRIPT = (Path(__file__).with_name(name).read_text() for name in ("page.css", "page.js"))


def page(evidence: Evidence, sections: Sequence[Section], missing: Sequence[str]) -> str:
    """The page's text.

    Args:
        evidence: what it is about.
        sections: what it shows, in order.
        missing: what it could have shown, each with what that needs.
    """
    experiments = len(evidence.judged)
    scored = sum(bool(judged.rows) for judged in evidence.judged)
    about = f"{experiments} experiments, of which {scored} are scored" if experiments else "searches only"
    names = list(dict.fromkeys(section.title for section in sections))
    anchors = {section.title: section.anchor for section in sections}
    body = [
        element("h1", evidence.title),
        element("p", about, class_="notes"),
        element("nav", *(element("a", name, href=f"#{anchors[name]}") for name in names)),
        *(element("section", element("h2", s.title, id=s.anchor), s.content) for s in sections),
    ]
    if missing:
        body += [element("h2", "Not on this page"), element("div", bullets(missing), class_="notes")]
    head = [
        element("meta", charset="utf-8"),
        element("meta", name_="viewport", content_="width=device-width, initial-scale=1"),
        element("title", f"{evidence.title} – raydg"),
        element("style", Markup(STYLE)),
    ]
    script = (
        element("script", Markup(SCRIPT)) if any("data-filter" in section.content for section in sections) else None
    )
    return "<!doctype html>\n" + element(
        "html", element("head", *head), element("body", joined(body), script), lang="en"
    )
