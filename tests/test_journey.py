"""What follows an attempt: held against the rule restated from the words of a step."""

from __future__ import annotations

import inspect
import random
import types
from typing import TYPE_CHECKING, Any

import msgspec
import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewseconds import journey as j
from fewseconds import scenario_file
from fewseconds.journey import After, Leg, Step

if TYPE_CHECKING:
    from collections.abc import Callable

    Move = Callable[[Any, int, int, int, int, int], tuple[int, int]]

NAMES = ("scan", "resolve", "pay", "check")
FAILURES = j.OUTCOMES[1:]
DRAW_MAX = 2**32 - 1

waits = st.integers(0, 5_000)


@st.composite
def journeys(draw: st.DrawFn, *, jitter: bool = False) -> tuple[Step, ...]:
    """One to four steps with any rules; the ones it may jump to always exist."""
    names = NAMES[: draw(st.integers(1, len(NAMES)))]
    targets = st.sampled_from([*names, "end"])
    return tuple(
        Step(
            legs=(Leg("anywhere"),),
            source="made up",
            name=name,
            after=After(names[0], "ok") if position > 0 and draw(st.booleans()) else None,
            then=draw(st.sampled_from(["", *names, "end"])),
            delay_ms=draw(waits),
            attempts_max=draw(st.integers(1, 5)),
            retry_on=tuple(draw(st.sets(st.sampled_from(FAILURES)))),
            backoff_ms=tuple(draw(st.lists(waits, max_size=4))),
            backoff_jitter=draw(st.integers(1, 1000)) / 1000 if jitter else 0.0,
            cadence_ms=0 if jitter else draw(st.sampled_from([0, 0, 1, 7, 250])),
            give_up_after_ms=draw(st.none() | st.integers(0, 20_000)),
            on_failure=draw(st.dictionaries(st.sampled_from(FAILURES), targets)),
        )
        for position, name in enumerate(names)
    )


def restated(
    steps: tuple[Step, ...], index: int, attempt: int, outcome: str, elapsed_us: int
) -> tuple[str, int]:
    """The next step's name and the wait before it, read off the step as a person would.

    Knows nothing of rows of numbers; waits are not jittered here.
    """
    step = steps[index]
    if outcome in step.retry_on and attempt + 1 in range(2, step.attempts_max + 1):
        if step.cadence_ms:
            ticks = range(0, elapsed_us + step.cadence_ms * 1000 + 1, step.cadence_ms * 1000)
            wait_us = next(tick for tick in ticks if tick > elapsed_us) - elapsed_us
        else:
            listed = [1000 * wait_ms for wait_ms in step.backoff_ms] or [0]
            wait_us = (listed + [listed[-1]] * attempt)[attempt - 1]
        late = step.give_up_after_ms is not None and (
            elapsed_us + wait_us > 1000 * step.give_up_after_ms
        )
        if not late:
            return step.name, wait_us
    if outcome == "ok":
        behind = [other for other in steps[index + 1 : index + 2] if other.after is None]
        target = step.then or (behind[0].name if behind else "end")
    else:
        target = step.on_failure.get(outcome, "end")
    if target == "end":
        return "end", 0
    return target, next(1000 * other.delay_ms for other in steps if other.name == target)


def moved(
    move: Move, steps: tuple[Step, ...], index: int, attempt: int, outcome: str, elapsed_us: int
) -> tuple[str, int]:
    """The same question, asked of ``move`` in numbers and its answer put into names."""
    rules = j.route("made_up", steps).rules
    step, delay_us = move(rules, index, attempt, j.OUTCOMES.index(outcome), elapsed_us, 12345)
    return ("end" if step == j.END else steps[step].name), delay_us


situations = st.tuples(
    st.integers(0, len(NAMES) - 1),
    st.integers(1, 6),
    st.sampled_from(j.OUTCOMES),
    st.one_of(st.integers(0, 30_000_000), st.integers(0, 80).map(lambda tick: tick * 250_000)),
)


@given(journeys(), situations)
def test_a_move_is_what_the_words_of_the_step_say(
    steps: tuple[Step, ...], situation: tuple[int, int, str, int]
) -> None:
    """Retry, follower, wait, giving up and the end agree with the rule restated by hand."""
    index, *rest = situation
    index %= len(steps)
    assert moved(j.next_move, steps, index, *rest) == restated(steps, index, *rest)  # type: ignore[arg-type]


@given(journeys(jitter=True), situations, st.integers(0, DRAW_MAX))
def test_jitter_keeps_a_wait_within_its_share(
    steps: tuple[Step, ...], situation: tuple[int, int, str, int], draw: int
) -> None:
    """A jittered wait lies within its share of the plain one and grows with the draw."""
    index, attempt, outcome, _ = situation
    index %= len(steps)
    step = steps[index]
    rules, number = j.route("made_up", steps).rules, j.OUTCOMES.index(outcome)
    target, plain_us = restated(steps, index, attempt, outcome, 0)
    is_retry = target == step.name and outcome in step.retry_on and attempt < step.attempts_max
    if not is_retry or step.give_up_after_ms is not None:
        return
    spread_us = step.backoff_jitter * plain_us
    low, here, high = (
        j.next_move(rules, index, attempt, number, 0, luck)[1] for luck in (0, draw, DRAW_MAX)
    )
    assert low == pytest.approx(plain_us - spread_us, abs=2)
    assert high == pytest.approx(plain_us + spread_us, abs=2 + spread_us / 2**15)
    assert low <= here <= high


@given(journeys(jitter=True), st.lists(st.sampled_from(j.OUTCOMES), min_size=30, max_size=30))
def test_no_step_is_tried_more_often_or_later_than_allowed(
    steps: tuple[Step, ...], outcomes: list[str]
) -> None:
    """Along any walk, attempts of a visit to a step stay within its number and its time."""
    rules = j.route("made_up", steps).rules
    index, attempt, elapsed_us = 0, 1, 0
    for luck, outcome in enumerate(outcomes):
        number = j.OUTCOMES.index(outcome)
        draw = luck * 0x9E3779B9 % 2**32
        following, delay_us = j.next_move(rules, index, attempt, number, elapsed_us, draw)
        assert delay_us >= 0
        if following == j.END:
            return
        step = steps[index]
        goes_back = step.name in (step.then, step.on_failure.get(outcome))
        if following == index and not goes_back:
            attempt, elapsed_us = attempt + 1, elapsed_us + delay_us
            assert attempt <= step.attempts_max
            assert step.give_up_after_ms is None or elapsed_us <= 1000 * step.give_up_after_ms
        else:
            index, attempt, elapsed_us = following, 1, 0


@given(st.integers(1, 1000), st.lists(st.integers(0, 3_000_000), min_size=1, max_size=40))
def test_camera_frames_stay_on_their_grid(cadence_ms: int, decodes_us: list[int]) -> None:
    """However long each decode takes, every frame begins on a multiple of the cadence."""
    step = Step((Leg("camera"),), "made up", "scan", attempts_max=99, cadence_ms=cadence_ms)
    rules = j.route("made_up", (step,)).rules
    elapsed_us = 0
    for attempt, decode_us in enumerate(decodes_us, start=1):
        ended_us = elapsed_us + decode_us
        _, delay_us = j.next_move(rules, 0, attempt, j.ERROR, ended_us, 0)
        assert 0 < delay_us <= 1000 * cadence_ms
        elapsed_us = ended_us + delay_us
        assert elapsed_us % (1000 * cadence_ms) == 0


@pytest.fixture(scope="module")
def compiled() -> Any:  # noqa: ANN401 - numba has no type for it
    """The rule as numba compiles it; the module itself stays plain Python."""
    move = j.next_move
    copy = types.FunctionType(move.__code__, dict(vars(j)), "next_move")
    return numba.njit(copy)


def cases(count: int) -> list[tuple[tuple[int, ...], int, int, int, int, int]]:
    """Arguments of ``next_move`` for steps drawn at random, the same every time."""
    dice = random.Random(7)  # noqa: S311 - examples, not secrets
    made = []
    for steps in tables(dice, count):
        index = dice.randrange(len(steps))
        elapsed_us = dice.choice((dice.randrange(30_000_000), 250_000 * dice.randrange(80)))
        made.append(
            (
                j.route("made_up", steps).rules, index, dice.randint(1, 5),
                dice.randrange(len(j.OUTCOMES)), elapsed_us, dice.randrange(2**32),
            )
        )  # fmt: skip
    return made


def tables(dice: random.Random, count: int) -> list[tuple[Step, ...]]:
    """Journeys drawn at random."""
    return [
        tuple(
            Step(
                legs=(Leg("anywhere"),),
                source="made up",
                name=name,
                delay_ms=dice.randrange(1000),
                attempts_max=dice.randint(1, 4),
                retry_on=tuple(dice.sample(FAILURES, 4)),
                backoff_ms=tuple(dice.randrange(5000) for _ in range(dice.randrange(4))),
                cadence_ms=dice.choice((0, 250)),
                backoff_jitter=dice.choice((0.0, 0.5, 1.0)),
                give_up_after_ms=dice.choice((None, 8_000)),
                on_failure={dice.choice(FAILURES): dice.choice((*NAMES[:3], "end"))},
            )
            for name in NAMES[:3]
        )
        for _ in range(count)
    ]


def test_compiled_moves_are_the_interpreted_ones(compiled: Move) -> None:
    """Numba compiles the rule as it stands and gives the same moves from an int64 array."""
    for rules, *rest in cases(3000):
        assert compiled(np.array(rules, np.int64), *rest) == j.next_move(rules, *rest)


MUTANTS = {
    "one attempt too many": ("attempt < rules", "attempt <= rules"),
    "one attempt too few": ("attempt < rules", "attempt + 1 < rules"),
    "waits shifted by one": ("min(attempt - 1, last)", "min(attempt, last)"),
    "the last wait does not repeat": ("min(attempt - 1, last)", "(attempt - 1) % (last + 1)"),
    "a frame at once": ("cadence_us - elapsed_us % cadence_us", "-elapsed_us % cadence_us"),
    "gives up too late": ("elapsed_us + delay_us <= rules", "elapsed_us <= rules"),
    "delay of the step before": ("rules[follower * WIDTH + DELAY_US]", "rules[row + DELAY_US]"),
    "always follows success": ("rules[row + NEXT + outcome]", "rules[row + NEXT]"),
}


@pytest.mark.parametrize("change", MUTANTS.values(), ids=MUTANTS)
def test_a_planted_mistake_in_the_rule_is_caught(change: tuple[str, str]) -> None:
    """Each single mistake planted in the rule makes it differ from the rule restated by hand."""
    source = inspect.getsource(j.next_move)
    assert change[0] in source
    names = dict(vars(j))
    exec("from __future__ import annotations\n" + source.replace(*change), names)  # noqa: S102
    dice = random.Random(11)  # noqa: S311 - examples, not secrets
    agreed = []
    for steps in tables(dice, 600):
        still = tuple(msgspec.structs.replace(step, backoff_jitter=0.0) for step in steps)
        elapsed_us = dice.choice((dice.randrange(30_000_000), 250_000 * dice.randrange(80)))
        asked = (dice.randrange(3), dice.randint(1, 4), dice.choice(j.OUTCOMES), elapsed_us)
        assert moved(j.next_move, still, *asked) == restated(still, *asked)
        agreed.append(moved(names["next_move"], still, *asked) == restated(still, *asked))
    assert not all(agreed)


STEPS = (
    Step((Leg("a"),), "made up", "scan", then="pay", on_failure={"error": "type"}),
    Step((Leg("b"),), "made up", "type"),
    Step((Leg("c", 10, "deemed", "credited"),), "made up", "pay"),
    Step((Leg("d"),), "made up", "callback", after=After("pay", "credited")),
    Step((Leg("e"),), "made up", "log"),
    Step((Leg("f"),), "made up", "sms", after=After("callback", "ok")),
)


def test_a_route_knows_its_branches() -> None:
    """Every step with an event begins a branch named after it, beside the main one."""
    route = j.route("made_up", STEPS)
    assert [(b.name, b.first_step, b.event) for b in route.branches] == [
        ("main", 0, None),
        ("callback", 3, "pay.credited"),
        ("sms", 5, "callback.ok"),
    ]
    assert [branch.name for branch in route.followers("pay.credited")] == ["callback"]
    assert route.followers("pay.ok") == []
    assert route.index("log") == 4
    with pytest.raises(KeyError):
        route.index("end")


def test_success_leads_to_the_next_step_of_the_branch() -> None:
    """A step without ``then`` is followed by its neighbour, unless that begins another branch."""
    rules = j.route("made_up", STEPS).rules
    after_ok = [j.next_move(rules, index, 1, j.OK, 0, 0)[0] for index in range(len(STEPS))]
    assert after_ok == [2, 2, j.END, 4, j.END, j.END]
    assert j.next_move(rules, 0, 1, j.ERROR, 0, 0) == (1, 0)
    assert j.next_move(rules, 0, 1, j.DECLINED, 0, 0) == (j.END, 0)


@pytest.mark.parametrize("name", scenario_file.shipped())
def test_every_journey_of_a_shipped_scenario_ends(name: str) -> None:
    """Followed along success and along each failure, no step of any journey comes twice."""
    scenario = scenario_file.load(name)
    for kind in scenario.journeys:
        rules = scenario.route(kind).rules

        def walk(step: int, seen: tuple[int, ...], rules: tuple[int, ...] = rules) -> None:
            assert step not in seen
            for outcome in range(8):
                # An attempt later than any number allowed is followed by something else.
                follower, _ = j.next_move(rules, step, 10**6, outcome, 0, 0)
                if follower != j.END:
                    walk(follower, (*seen, step))

        for branch in scenario.route(kind).branches:
            walk(branch.first_step, ())
        assert j.WIDTH * len(scenario.journeys[kind].steps) <= len(rules)
