"""Pictures of codes, and the words for numbers."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewseconds import report, slo
from fewseconds.report import pictures, words

if TYPE_CHECKING:
    from pathlib import Path

    from fewseconds.record import Evidence
    from fewseconds.scenario import Scenario
    from tests.report.conftest import Walk, Workshop


def strip_folder(folder: Path) -> Path:
    """A strip with a picture that is there, one that is missing and one of an unknown type."""
    (folder / "1-1.jpg").write_bytes(b"\xff\xd8 picture")
    (folder / "1-2.svg").write_text("<svg/>", encoding="utf-8")
    files = [
        {"file": name, "frame": 1, "read_by": ["pyzbar"]}
        for name in ("1-1.jpg", "gone.jpg", "1-2.svg")
    ]
    entry = {
        "journey_id": 1, "bill_index": 1, "medium": "laser_print", "decoder": "opencv",
        "text": "upi://pay", "misread": False, "frames": 3, "pictures": files,
    }  # fmt: skip
    (folder / "strip.json").write_text(json.dumps([entry]), encoding="utf-8")
    return folder


def test_pictures_travel_inside_the_page(
    shop: Workshop, city: Scenario, seen: Evidence, tmp_path: Path
) -> None:
    """The page holds the bytes of every picture that is there, with words for who cannot see it."""
    with_strip = dataclasses.replace(seen, strip=strip_folder(tmp_path))
    path = report.write(tmp_path, city, shop.record(with_strip), with_strip)
    page = shop.page(path.read_text(encoding="utf-8"))
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 1
    head, _, data = str(images[0]["src"]).partition(",")
    assert head == "data:image/jpeg;base64"
    assert base64.b64decode(data) == b"\xff\xd8 picture"
    assert "laser print" in str(images[0]["alt"])
    assert "read by opencv in frame 3" in page.words


def test_no_pictures_are_no_trouble(tmp_path: Path) -> None:
    """A run without a strip, or with an empty folder, shows none."""
    assert pictures.strip(None) == ()
    assert pictures.strip(tmp_path) == ()


def test_read_rates_are_counted_by_scan(shop: Workshop, city: Scenario) -> None:
    """Half of four scans read at once and one never read are 50 and 75 per cent."""
    at_once = [shop.paid()[0], shop.paid()[2], *shop.paid()[3:]]
    unread = [*shop.paid()[:2], ("type_number", "ok", "", 9.0), *shop.paid()[3:]]
    walks: list[tuple[str, Walk]] = [
        ("qr_ebill", walk) for walk in (at_once, at_once, shop.paid(), unread)
    ]
    by_decoder, by_medium = pictures.read_rates(city, shop.evidence(walks))
    (rate,) = by_decoder
    assert rate.name == city.apps["phonepe"].scanner
    assert (rate.scans, rate.at_once, rate.in_the_end) == (4, 0.5, 0.75)
    assert [medium.name for medium in by_medium] == ["laser print"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "–"), (0.0, "0 ms"), (0.0031, "3.1 ms"), (0.2533, "253 ms"), (0.9996, "1.0 s"),
        (2.84, "2.8 s"), (99.94, "99.9 s"), (99.96, "1 min 40 s"), (125.0, "2 min 5 s"),
        (180.0, "3 min"), (math.inf, "never"),
    ],
)  # fmt: skip
def test_durations_are_said_as_people_say_them(value: float | None, said: str) -> None:
    """A duration has the unit of its size, and what never ends says so."""
    assert words.seconds(value).replace(words.NBSP, " ") == said


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (2.71, 2.94, "2.7 to 2.9 s"), (0.95, 1.24, "950 ms to 1.2 s"), (None, 3.0, "up to 3.0 s"),
        (3.0, None, "3.0 s or more"), (3.0, math.inf, "3.0 s or more"), (math.inf, math.inf, ""),
        (72.7, 132.0, "72.7 s to 2 min 12 s"), (None, None, ""),
    ],
)  # fmt: skip
def test_intervals_share_their_unit(low: float | None, high: float | None, said: str) -> None:
    """An interval names its unit once if both ends have the same, and says which end is open."""
    assert words.interval(between("machine_time", low, high)).replace(words.NBSP, " ") == said


def between(measure: str, low: float | None, high: float | None) -> slo.Verdict:
    """An objective whose observation lies in this interval."""
    return slo.Verdict(
        "x", measure, "p50", "measured", gate=True, limit=5.0, at_least=False,
        word="pass", observed=2.8, low=low, high=high, count=9,
    )  # fmt: skip


NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
IN_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "min": Decimal(60)}
SHARES = st.one_of(
    st.floats(0, 1),
    # Rare things, and what arithmetic leaves of nothing.
    st.integers(-30, 0).map(lambda power: 1.7 * 10.0 ** (power - 1)),
)
DURATIONS = st.one_of(st.floats(0, 1e5), st.floats(0, 2))


def number(text: str) -> Decimal:
    """The number that a text is."""
    assert NUMBER.fullmatch(text), text
    return Decimal(text)


def read(text: str) -> Decimal:
    """The share in per cent, or the duration in seconds, that a text says."""
    parts = text.split(words.NBSP)
    values, units = parts[::2], parts[1::2]
    if units == ["%"]:
        return number(values[0])
    return sum((number(v) * IN_SECONDS[u] for v, u in zip(values, units, strict=True)), Decimal(0))


@given(SHARES, SHARES, st.integers(0, 3))
def test_percentages_are_numbers_in_the_order_of_what_they_say(
    one: float, other: float, digits: int
) -> None:
    """A percentage is a number, as near as its digits allow, and a larger share is never less."""
    low, high = (read(words.percent(share, digits)) for share in sorted((one, other)))
    assert low <= high
    for share in (one, other):
        told = read(words.percent(share, digits))
        assert (told == 0) == (share < words.SHARE_MIN)
        assert abs(told - Decimal(share) * 100) <= Decimal("0.5000001") / 10**digits
        assert read(words.percent(-share, digits)) == -told


@given(DURATIONS, DURATIONS)
def test_durations_are_numbers_in_the_order_of_what_they_say(one: float, other: float) -> None:
    """A duration is a number with its unit, to a twentieth, and a longer one is never less."""
    low, high = (read(words.seconds(value)) for value in sorted((one, other)))
    assert low <= high
    for value in (one, other):
        error = abs(float(read(words.seconds(value))) - value)
        assert error <= max(0.051 * value, 0.000051)


@given(st.floats(-1, 1))
def test_points_have_a_sign_or_are_nothing(difference: float) -> None:
    """A difference of shares is said with its sign, or as ±0 if its digits show nothing."""
    told = words.points(difference)
    if told == "±0":
        assert abs(difference) <= 0.00005
    else:
        value = number(told[1:]) * (1 if told[0] == "+" else -1)
        assert (value > 0) == (difference > 0)
        assert abs(float(value) - 100 * difference) <= 0.0051


@given(st.data(), st.sampled_from(["error_rate", "machine_time"]))
def test_an_interval_has_its_ends_in_order(data: st.DataObject, measure: str) -> None:
    """Both ends of an interval are numbers with a unit, and the first is not the larger."""
    values = SHARES if measure == "error_rate" else DURATIONS
    low, high = sorted((data.draw(values), data.draw(values)))
    start, end = words.interval(between(measure, low, high)).split(" to ")
    if words.NBSP not in start:
        start += words.NBSP + end.rpartition(words.NBSP)[2]
    assert read(start) <= read(end)
    assert read(start) == read(words.quantity(measure, low))
    assert read(end) == read(words.quantity(measure, high))


@pytest.mark.parametrize(
    ("count", "said"), [(950, "0 to 0.4 %"), (3, "0 to 56.1 %"), (1_050_000, "0 to 0.0004 %")]
)
def test_an_interval_around_nothing_begins_at_nothing(count: int, said: str) -> None:
    """None of many is an interval that begins at 0 %, whatever the arithmetic leaves of it."""
    _, low, high = slo.share(0, count)
    assert words.interval(between("error_rate", low, high)).replace(words.NBSP, " ") == said
    assert slo.share(count, count)[2] == 1
