"""Rows on disk: one schema, readable while they are written, and not lost in a crash."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewseconds import outcomes
from fewseconds.journey import OUTCOMES
from fewseconds.outcomes import SCHEMA, Outcome, Writer

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
moments = st.integers(0, 2**62)
rows = st.builds(
    Outcome, st.sampled_from(["client", "server", "sim"]), words, moments, words, words,
    st.integers(-1, 9), st.integers(1, 99), words, moments, moments, moments, moments,
    st.sampled_from(OUTCOMES), words, st.integers(0, 10**6), moments,
)  # fmt: skip


def row(number: int, process: str = "load", observer: str = "client") -> Outcome:
    """A row that can be told from others by its journey."""
    return Outcome(observer, process, number, "main", "pay", 0, 1, "biller", 1, 2, 3, 4, "ok")


def numbers(folder: Path, observer: str | None = None) -> list[int]:
    """The journeys of all rows on disk."""
    found = outcomes.read(folder, observer)["journey_id"].to_pylist()
    return sorted(found)


def test_a_writer_never_stops_to_import_pandas(tmp_path: Path) -> None:
    """Writing and joining rows does not load pandas, which would hold a service up for long."""
    code = (
        "import sys; from fewseconds.outcomes import Outcome, Writer; from pathlib import Path\n"
        f"writer = Writer(Path({str(tmp_path)!r}), 'load')\n"
        "for number in range(64):\n"
        "    writer.add(Outcome('sim', 'x', 1, 'main', 'pay', 0, 1, 'b', 1, 2, 3, 4, 'ok'))\n"
        "    writer.flush()\n"
        "writer.close(); print('pandas' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
    assert numbers(tmp_path) == [1] * 64


def test_the_columns_are_those_of_the_definition() -> None:
    """The schema has the sixteen columns that every engine and service writes, in order."""
    assert " ".join(SCHEMA.names) == (
        "observer process journey_id branch step leg attempt station intended_us start_us "
        "service_start_us end_us outcome code queue_length overrun_us"
    )
    assert list(Outcome._fields) == SCHEMA.names
    for name in (
        "journey_id",
        "intended_us",
        "start_us",
        "service_start_us",
        "end_us",
        "overrun_us",
    ):
        assert SCHEMA.field(name).type == pa.int64()


@given(st.lists(rows, max_size=20))
def test_rows_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, some: list[Outcome]
) -> None:
    """Whatever texts and numbers they hold, rows written are rows read, in order."""
    folder = tmp_path_factory.mktemp("rows")
    assert outcomes.table(some).schema == SCHEMA
    outcomes.write(outcomes.table(some), folder / "a.parquet")
    read = outcomes.read(folder)
    assert read.schema == SCHEMA
    assert [tuple(one.values()) for one in read.to_pylist()] == [tuple(one) for one in some]


def test_a_folder_without_rows_is_an_empty_table(tmp_path: Path) -> None:
    """Before anything was written there is a table of the schema, without rows."""
    assert outcomes.read(tmp_path).equals(SCHEMA.empty_table())
    Writer(tmp_path, "idle").close()
    assert outcomes.read(tmp_path).num_rows == 0


def test_flushed_rows_are_readable_before_the_end(tmp_path: Path) -> None:
    """Rows can be read after a flush, from any number of processes, without counting twice."""
    writers = [Writer(tmp_path / "deep" / "er", f"worker.{n}") for n in range(3)]
    for number in range(30):
        writers[number % 3].add(row(number))
        if number % 7 == 0:
            writers[number % 3].flush()
    for writer in writers:
        writer.flush()
        writer.flush()
    assert numbers(tmp_path / "deep" / "er") == list(range(30))
    assert [writer.close().name for writer in writers] == [f"worker.{n}.parquet" for n in range(3)]
    assert numbers(tmp_path / "deep" / "er") == list(range(30))
    assert len(list((tmp_path / "deep" / "er").iterdir())) == 3


def test_a_long_run_is_flushed_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many rows a part is written, so that memory stays bounded."""
    monkeypatch.setattr(outcomes, "PART_ROWS", 100)
    writer = Writer(tmp_path, "load")
    for number in range(250):
        writer.add(row(number))
    assert numbers(tmp_path) == list(range(200))
    writer.close()
    assert numbers(tmp_path) == list(range(250))


def test_a_turn_now_and_then_is_a_flush(tmp_path: Path) -> None:
    """Rows that are gathered turn by turn are on disk after a round of turns, each once."""
    writer = Writer(tmp_path, "load")
    for number in range(2 * outcomes.TURNS + 3):
        writer.add(row(number))
        writer.turn()
        assert numbers(tmp_path) == list(range((number + 1) // outcomes.TURNS * outcomes.TURNS))
    writer.close()
    assert numbers(tmp_path) == list(range(2 * outcomes.TURNS + 3))


def test_closing_twice_loses_nothing(tmp_path: Path) -> None:
    """A second close, with or without rows in between, keeps what the first one wrote."""
    writer = Writer(tmp_path, "load")
    writer.add(row(1))
    writer.close()
    writer.close()
    assert numbers(tmp_path) == [1]
    writer.add(row(2))
    assert writer.close() == tmp_path / "load.parquet"
    assert numbers(tmp_path) == [1, 2]


KILLED = """
import os, signal, sys
from pathlib import Path
from fewseconds.outcomes import Outcome, Writer
writer = Writer(Path(sys.argv[1]), "load")
for number in range(500):
    writer.add(Outcome("client", "load", number, "main", "pay", 0, 1, "biller", 1, 2, 3, 4, "ok"))
    if number % 100 == 49:
        writer.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_flushed_rows_survive_a_kill(tmp_path: Path) -> None:
    """Of a process killed without warning, every flushed row is there, and each once."""
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert numbers(tmp_path) == list(range(450))


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_a_kill_while_tidying_up_doubles_nothing(
    kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts that stayed behind beside the file that holds their rows are not read again."""
    writer = Writer(tmp_path, "load")
    for number in range(3):
        writer.add(row(number))
        writer.flush()
    unlink, left = Path.unlink, [3 - kept]

    def killed(path: Path) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        unlink(path)

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        writer.close()
    assert len(list(tmp_path.glob("*.part*"))) == kept
    assert numbers(tmp_path) == [0, 1, 2]


@pytest.mark.parametrize("killed_at", [0, 1, 4])
def test_hours_leave_few_files(
    killed_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every so many parts become one, and a kill in between neither loses nor doubles a row."""
    monkeypatch.setattr(outcomes, "JOIN_EVERY", 4)
    writer, unlink, left = Writer(tmp_path, "load"), Path.unlink, [killed_at + 8]

    def killed(path: Path) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        unlink(path)

    monkeypatch.setattr(Path, "unlink", killed)
    for number in range(11):
        writer.add(row(number))
        writer.flush()
    assert len(list(tmp_path.glob("*.part*"))) == 5
    writer.add(row(11))
    with contextlib.suppress(KeyboardInterrupt):
        writer.flush()
    assert numbers(tmp_path) == list(range(12))
    assert len(list(tmp_path.glob("*.part*"))) == 7 - killed_at


def test_half_written_files_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that a crash cut short is passed over, and the others are read."""
    writer = Writer(tmp_path, "load")
    writer.add(row(1))
    writer.flush()
    write = pq.write_table

    def cut_short(table: pa.Table, path: Path, **options: object) -> None:
        write(table, path, **options)
        os.truncate(path, 20)
        raise KeyboardInterrupt

    monkeypatch.setattr(pq, "write_table", cut_short)
    writer.add(row(2))
    with pytest.raises(KeyboardInterrupt):
        writer.flush()
    assert numbers(tmp_path) == [1]


def test_threads_may_add_while_another_flushes(tmp_path: Path) -> None:
    """No row is lost between threads that add and one that flushes all the time."""
    writer, adding = Writer(tmp_path, "load"), threading.Event()
    interval = sys.getswitchinterval()

    def add(worker: int) -> None:
        for number in range(2000):
            writer.add(row(worker * 2000 + number))

    def flush() -> None:
        while not adding.is_set():
            writer.flush()

    workers = [threading.Thread(target=add, args=(worker,)) for worker in range(3)]
    flusher = threading.Thread(target=flush)
    sys.setswitchinterval(1e-6)
    try:
        for thread in (*workers, flusher):
            thread.start()
        for thread in workers:
            thread.join()
        adding.set()
        flusher.join()
    finally:
        sys.setswitchinterval(interval)
    writer.close()
    assert numbers(tmp_path) == list(range(6000))


def test_one_observer_can_be_read_alone(tmp_path: Path) -> None:
    """Rows of the client and of the servers can be told apart in any process."""
    for number, observer in enumerate(("client", "server", "server")):
        writer = Writer(tmp_path, f"process{number}")
        writer.add(row(number, f"process{number}", observer))
        writer.close()
    assert numbers(tmp_path, "server") == [1, 2]
    assert numbers(tmp_path, "sim") == []
    code = (
        "import sys; from pathlib import Path; from fewseconds import outcomes;"
        "print(outcomes.read(Path(sys.argv[1]), 'server').num_rows)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (said.stdout, said.stderr) == ("2\n", "")
