"""Replications that stop when enough is known, here or on a cluster that loses a worker."""

from __future__ import annotations

import os
import signal
import threading
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest

from fewseconds import scenario_file
from fewseconds.errors import UsageError
from fewseconds.plan import plan
from sim import comparison, experiments, replication, window
from sim.experiments import Precision
from sim.replication import Case
from sim.workers import Workers, workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from fewseconds.scenario import Scenario

    Tiny = Callable[..., Scenario]

ALONE = Workers(1)


def silent(_: str, __: float) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def clerk(tiny: Tiny) -> Callable[..., Case]:
    """One clerk with exponential service; at 0.7 erlangs unless said otherwise."""

    def make(service_ms: float = 2520, consumers: int = 1000, rate: float = 1.0) -> Case:
        scenario = tiny(
            {"serve": {"legs": [{"station": "clerk"}]}},
            {
                "clerk": {
                    "servers": 1,
                    "service_time": {"law": "exponential", "mean_ms": service_ms},
                }
            },
            consumers=consumers,
            slo=[
                {
                    "name": "half", "measure": "machine_time", "statistic": "p50", "limit": 100.0,
                    "gate": True, "source": "made up",
                }
            ],
        )  # fmt: skip
        return Case(scenario, window.busiest(scenario), rate)

    return make


def test_replication_goes_on_until_the_gate_is_known(clerk: Callable[..., Case]) -> None:
    """A wide interval asks for more replications; a narrow one, or the cap, ends it."""
    (rough,) = experiments.replicate([clerk()], Precision(0.9, 3, 30), ALONE, 1, silent)
    (fine,) = experiments.replicate([clerk()], Precision(0.08, 3, 60), ALONE, 1, silent)
    (capped,) = experiments.replicate([clerk()], Precision(0.001, 3, 4), ALONE, 1, silent)
    assert len(rough.readings) == 3
    assert 3 < len(fine.readings) < 60
    found = fine.estimate("machine_time", "p50")
    assert found.observed is not None
    assert found.half_width <= 0.08 * found.observed
    assert len(capped.readings) == 4
    assert capped.unsettled(Precision(0.001, 3, 4)).startswith("half: known to ±")
    # The first replications of all three are the same walks.
    for study in (fine, capped):
        assert np.array_equal(
            study.readings[2].samples["machine_time"], rough.readings[2].samples["machine_time"]
        )


def test_more_arrivals_keep_the_ones_there_were(clerk: Callable[..., Case]) -> None:
    """At two and a half times the rate everybody of the single and the double rate still comes."""
    comes = {}
    for rate in (0.25, 1.0, 2.0, 2.5):
        found = replication.rows(clerk(rate=rate), 3)
        ids = found.table["journey_id"].to_pylist()
        comes[rate] = dict(zip(ids, found.starts_us.tolist(), strict=True))
        assert len(comes[rate]) == len(found) == pytest.approx(1000 * rate, rel=0.03)
        assert (np.diff(found.starts_us) >= 0).all()
    for fewer, more in pairwise(comes.values()):
        assert fewer.items() <= more.items()
    # The company comes when the city comes: as many in every ten minutes as there were, and anew.
    once, twice = (np.array(list(comes[rate].values())) for rate in (1.0, 2.0))
    counts = [np.bincount(starts // 600_000_000) for starts in (once, twice)]
    assert (counts[1] == 2 * counts[0]).all()
    assert len(set(twice.tolist())) == 2000


def test_a_warm_up_is_walked_but_not_judged() -> None:
    """Only journeys of the busiest hour count, those before and after keep the queues filled."""
    scenario = scenario_file.load("due_date_evening", {"consumers": 4000})
    found = window.busiest(scenario)
    starts = plan(scenario).starts_us
    reading = replication.read(Case(scenario, found), scenario.seed)
    hour = (starts >= found.from_us) & (starts < found.until_us)
    assert reading.judged == hour.sum()
    assert reading.walked > 1.2 * reading.judged
    digital = np.bincount(plan(scenario).digital().starts_us // 3_600_000_000)
    assert digital.argmax() == found.from_us // 3_600_000_000
    assert len(reading.samples["error_rate"]) == reading.judged


def test_busy_servers_and_waiting_follow_the_theory(clerk: Callable[..., Case]) -> None:
    """Offered load and the mean queue of M/M/1 lie inside their printed intervals, twice wide."""
    (study,) = experiments.replicate([clerk()], Precision(1, 30, 30), ALONE, 11, silent)
    load = 0.7
    for found, expected in (
        (study.busy("clerk"), load),
        (study.waiting("clerk"), load**2 / (1 - load)),
    ):
        assert found.observed is not None
        assert abs(found.observed - expected) < 2 * found.half_width


def test_pairs_share_their_luck(clerk: Callable[..., Case]) -> None:
    """A twentieth less service is seen through the noise, as a difference that leaves 0 out."""
    cases = [clerk(2520), clerk(2394)]
    pair = experiments.replicate(cases, Precision(1, 12, 12), ALONE, 5, silent, in_pairs=True)
    found = comparison.comparison(pair[0], pair[1])
    (busy,) = [d for d in found.stations if d.of == "clerk"]
    assert busy.real
    assert busy.difference.observed == pytest.approx(-0.05 * 0.7, rel=0.1)
    assert busy.unpaired_variance is not None
    assert busy.unpaired_variance > 20
    same = comparison.comparison(pair[0], pair[0])
    assert not any(d.real for d in (*same.measures, *same.stations))


def count_up(folder: str, number: int, fatal: int) -> tuple[int, int]:
    """Leave a trace, and for one number wait to be killed the first time."""
    place = Path(folder)
    (place / f"{number}.{os.getpid()}").touch(exist_ok=False)
    tried = list(place.glob(f"{number}.*"))
    if number == fatal and len(tried) == 1:
        threading.Event().wait()
    return number, os.getpid()


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_cluster_that_loses_a_worker_finishes_and_counts_nothing_twice(tmp_path: Path) -> None:
    """One of two worker processes is killed in the middle, and every place is filled once."""
    fatal, total = 7, 24
    killed: list[int] = []

    def kill() -> None:
        while not killed:
            for trace in tmp_path.glob(f"{fatal}.*"):
                killed.append(int(trace.suffix[1:]))
                os.kill(killed[-1], signal.SIGKILL)
            threading.Event().wait(0.05)

    hunter = threading.Thread(target=kill, daemon=True)
    hunter.start()
    with workers("local:2") as cluster:
        found = cluster.map(count_up, [(str(tmp_path), n, fatal) for n in range(total)])
    hunter.join(30)
    assert [number for number, _ in found] == list(range(total))
    assert len(killed) == 1
    assert not psutil.pid_exists(killed[0])
    assert found[fatal][1] != killed[0]


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_cluster_gives_the_same_readings(clerk: Callable[..., Case]) -> None:
    """Two worker processes of a Dask cluster read what this process reads, in the same order."""
    case = clerk()
    (here,) = experiments.replicate([case], Precision(1, 4, 4), ALONE, 1, silent)
    with workers("local:2") as cluster:
        (there,) = experiments.replicate([case], Precision(1, 4, 4), cluster, 1, silent)
    for one, other in zip(here.readings, there.readings, strict=True):
        assert one.seed == other.seed
        assert one.uses == other.uses
        assert np.array_equal(one.samples["machine_time"], other.samples["machine_time"])


@pytest.mark.parametrize(
    ("cluster", "complaint"),
    [("local:none", "write local:2"), ("lan:3", "write local:2 or tcp://host:port")],
)
def test_a_cluster_that_cannot_be_is_refused(cluster: str, complaint: str) -> None:
    """A word that names no cluster is one sentence with the ones that do."""
    with pytest.raises(UsageError, match=complaint), workers(cluster):
        pass


def test_results_come_in_order_from_processes() -> None:
    """Two processes of this machine fill the places in order, and progress counts every one."""
    heard: list[int] = []
    tasks: list[tuple[Any, ...]] = [(number,) for number in range(20)]
    assert Workers(2).map(abs, tasks, heard.append) == list(range(20))
    assert heard == list(range(1, 21))


@pytest.mark.parametrize("rate", [1.0, 4.0, 20.0])
def test_a_part_of_the_hour_has_its_rate_and_its_people(rate: float) -> None:
    """Twelve minutes at so many times the arrivals hold as many of every kind as an hour does."""
    scenario = scenario_file.load("due_date_evening", {"consumers": 200_000})
    whole = window.busiest(scenario)
    part = whole.at_rate(10.0)
    hour = replication.rows(Case(scenario, whole), 3).window(whole.from_us, whole.until_us)
    found = replication.rows(Case(scenario, part, rate), 3)
    length = (part.walked_until_us - part.walked_from_us) / whole.length_us
    assert length == pytest.approx(0.2)
    assert len(found) == pytest.approx(rate * length * len(hour), rel=0.1)
    assert (np.diff(found.starts_us) >= 0).all()
    assert part.walked_from_us <= found.starts_us[0]
    assert found.starts_us[-1] < part.walked_until_us
    mixes = [np.bincount(one.codes("kind"), minlength=6) / len(one) for one in (hour, found)]
    assert np.abs(mixes[0] - mixes[1]).max() < 0.05
