"""The page of the report: tags, sources, escaping, words, colours."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING, Final

import pytest

from fewseconds import report, slo
from fewseconds.record import Check, Record

if TYPE_CHECKING:
    from fewseconds.record import Evidence, Record
    from fewseconds.scenario import Scenario
    from tests.report.conftest import Workshop

AWKWARD: Final = "<script>alert('x')</script> & \"quotes\" </td>"


def cases(shop: Workshop, seen: Evidence) -> dict[str, tuple[Record, Evidence]]:
    """Runs that went well, badly, nowhere, and said awkward things."""
    nothing = shop.evidence([])
    failed = shop.evidence([("qr_ebill", [*shop.paid()[:6], ("pay", "error", "XY", 1.0)])] * 70)
    spoiled = slo.Validity(valid=False, reasons=(AWKWARD * 40,))
    violated = Check(AWKWARD, passed=False, checked=3, violations=1, first=(AWKWARD,))
    return {
        "pass": (shop.record(seen), seen),
        "fail": (shop.record(failed), failed),
        "empty": (shop.record(nothing, generator=None, checks=(), notes=()), nothing),
        "spoiled": (
            shop.record(
                seen, validity=spoiled, title=AWKWARD, summary=AWKWARD, command=AWKWARD,
                checks=(violated,), notes=(AWKWARD,), versions={AWKWARD: AWKWARD}, tries=2,
            ),
            seen,
        ),
    }  # fmt: skip


CASES: Final = ("pass", "fail", "empty", "spoiled")


@pytest.mark.parametrize("case", CASES)
def test_every_tag_is_closed_in_order(
    shop: Workshop, city: Scenario, seen: Evidence, case: str
) -> None:
    """The page of any run has balanced tags and unique ids."""
    page = shop.page(report.html(city, *cases(shop, seen)[case]))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert page.faults == []
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("case", CASES)
def test_the_page_fetches_nothing(
    shop: Workshop, city: Scenario, seen: Evidence, case: str
) -> None:
    """A report has no script and loads nothing from anywhere."""
    html = report.html(city, *cases(shop, seen)[case])
    page = shop.page(html)
    loading = {"src", "href", "srcset", "action", "data", "poster", "xlink:href"}
    loaded = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in loading and not (value or "").startswith(("data:", "#"))
    ]
    assert loaded == []
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    assert not re.search(r"@import|url\(", html.partition("</style>")[0])


def test_what_people_wrote_is_text(shop: Workshop, city: Scenario, seen: Evidence) -> None:
    """Titles, reasons and violations appear as they were written, whatever characters they have."""
    page = shop.page(report.html(city, *cases(shop, seen)["spoiled"]))
    flat = " ".join(AWKWARD.split())
    # Title, heading, summary, reason, the check twice and its violation, the note, and the command.
    assert page.words.count(flat) >= 8


@pytest.mark.parametrize("case", CASES)
def test_the_verdict_is_said_in_words(
    shop: Workshop, city: Scenario, seen: Evidence, case: str
) -> None:
    """The word of the verdict and the sentence that answers the question open the page."""
    whole, what = cases(shop, seen)[case]
    said = shop.page(report.html(city, whole, what)).words
    summary = " ".join(whole.summary.split())
    assert re.search(rf"{whole.word} {re.escape(summary)}", said)
    assert said.startswith(f"{whole.word}:")


def test_every_table_names_its_columns(shop: Workshop, city: Scenario, seen: Evidence) -> None:
    """Each table has a caption or a summary above it, and all its headings have a scope."""
    page = shop.page(report.html(city, shop.record(seen), seen))
    headings = [attributes for tag, attributes in page.tags if tag == "th"]
    assert headings
    assert all(attributes.get("scope") in {"row", "col"} for attributes in headings)
    names = [tag for tag, _ in page.tags if tag in {"table", "caption", "summary"}]
    assert names.count("table") == names.count("caption") + names.count("summary")


def test_colours_can_be_read() -> None:
    """Every text colour has a contrast of 4.5 with the page, in light, in dark and on paper."""
    css = resources.files("fewseconds").joinpath("templates/style.css").read_text("utf-8")
    palettes = [
        dict(re.findall(r"--([\w-]+): (#\w{6})", block))
        for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    ]
    assert len(palettes) == 3
    for colours in palettes:
        for text in ("ink", "muted", "accent", "pass", "fail", "inconclusive"):
            for ground in ("paper", "raised"):
                assert contrast(colours[text], colours[ground]) >= 4.5


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours (WCAG 2.1, section 1.4.3)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (
            p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)
