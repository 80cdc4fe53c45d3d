"""Payer apps: their cadence, their questions, and what a hand does between two frames."""

from __future__ import annotations

from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewseconds import scenario_file
from fewseconds.journey import Leg, Step
from fewseconds.payer_app import App, Polls, app_problems, in_app, memory

SCAN = Step((Leg("camera"),), "made up", "scan", cadence_ms=250, delay_ms=250, attempts_max=32)
ASK = Step((Leg("psp"),), "made up", "check_status", marks="pending", delay_ms=1, attempts_max=2)


def app(cadence_ms: int = 0, polls: Polls | None = None) -> App:
    """A profile that differs in one point."""
    return App(share=1.0, scanner="opencv", cadence_ms=cadence_ms, polls=polls)


@given(cadence_ms=st.integers(40, 2000))
def test_people_aim_equally_long_in_every_app(cadence_ms: int) -> None:
    """Frames times their distance is the step's own eight seconds, to half a frame."""
    mine = in_app(SCAN, app(cadence_ms))
    assert mine.cadence_ms == cadence_ms
    assert abs(mine.attempts_max * cadence_ms - 32 * 250) <= Fraction(cadence_ms, 2)


@given(persistence=st.floats(0.01, 0.99), frames=st.integers(2, 6))
def test_a_hand_moves_in_its_own_time(persistence: float, frames: int) -> None:
    """A scanner n times as quick remembers over n frames what the other remembers over one."""
    quick = memory(persistence, SCAN, app(250 // frames))
    slow = memory(persistence, SCAN, app(250 // frames * frames))
    assert quick**frames == pytest.approx(slow)
    assert memory(1.0, SCAN, app(70)) == 1.0
    assert memory(0.0, SCAN, app(70)) == 0.0
    assert memory(persistence, ASK, app(70)) == persistence


def test_only_questions_about_pending_payments_follow_the_app() -> None:
    """The app's waits are those of the step that the screen calls pending; nothing else changes."""
    polls = Polls(first_ms=7, waits_ms=(8, 9), asks_max=4, source="made up")
    asks = in_app(ASK, app(polls=polls))
    assert (asks.delay_ms, asks.backoff_ms, asks.attempts_max) == (7, (8, 9), 4)
    assert in_app(SCAN, app(polls=polls)) == SCAN
    assert msgspec.structs.replace(asks, delay_ms=1, backoff_ms=(), attempts_max=2) == ASK


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ({"cadence_ms": 5}, "cadence_ms: 5 is out of range"),
        ({"gallery_max_paise": -1}, "gallery_max_paise: -1 is negative"),
        ({"polls": {"first_ms": -1, "waits_ms": [1], "asks_max": 300, "source": "s"}},
         "polls.asks_max: 300 is out of range"),
        ({"wallet": {"share": 1.5, "payment_max_paise": 0, "short_of_money": 0, "source": "s"}},
         "wallet.share: 1.5 is not between 0 and 1"),
    ],
)  # fmt: skip
def test_a_profile_that_makes_no_sense_is_refused(profile: dict[str, object], said: str) -> None:
    """Each mistake is told with its place."""
    mine = msgspec.convert({"share": 1.0, "scanner": "opencv", **profile}, App)
    lines = list(app_problems("apps.own", mine))
    assert lines[0].startswith(f"apps.own.{said}")


def test_every_shipped_app_keeps_to_what_is_published() -> None:
    """PhonePe's questions are its published schedule; five apps have a profile of their own."""
    scenario = scenario_file.load("mumbai")
    polls = scenario.apps["phonepe"].polls
    assert polls is not None
    # 20 s, every 3 s for 30 s, every 6 s for 60 s, every 10 s for 60 s, every 30 s for 60 s.
    assert sum(polls.waits_ms[:10]) == 30_000
    assert sum(polls.waits_ms[10:20]) == 60_000
    assert sum(polls.waits_ms[20:26]) == 60_000
    assert sum(polls.waits_ms[26:28]) == 60_000
    after_s = [
        20 + sum([*polls.waits_ms, *[polls.waits_ms[-1]] * 40][:asked]) / 1000
        for asked in range(polls.asks_max)
    ]
    assert 13 * 60 < after_s[-1] <= 15 * 60
    named = [name for name, app in scenario.apps.items() if app.polls is not None]
    assert named == ["phonepe", "google_pay", "paytm", "amazon_pay", "bhim"]
