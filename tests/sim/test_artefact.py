"""Machine code is kept from one process to the next, and never run if it is broken or foreign."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewseconds import scenario_file
from sim import artefact, entry, layout
from sim.flat import Flat
from sim.machine import Machine

if TYPE_CHECKING:
    from numpy.typing import NDArray

pytestmark = pytest.mark.timeout(300)
MINE = "0123abcd"
CODE = bytes(range(256)) * 3
NOT_COMPILED = {"fewseconds.plan", "sim"}
"""Imported for a word that no compiled function uses, or to reach a module of the list."""


@given(st.integers(0), st.integers(1, 255))
def test_a_changed_byte_is_noticed(place: int, change: int) -> None:
    """Machine code is accepted as it was packed, and not if any byte of the file differs."""
    packed = artefact.packed(MINE, "name", CODE)
    assert artefact.unpacked(packed, MINE) == ("name", CODE)
    broken = bytearray(packed)
    broken[place % len(broken)] ^= change
    assert artefact.unpacked(bytes(broken), MINE) is None
    assert artefact.unpacked(packed[: place % len(packed)], MINE) is None


def test_only_ones_own_machine_code_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code is made once; again if the file is broken, and again for another key."""
    made: list[int] = []

    def machine_code() -> tuple[str, bytes]:
        made.append(1)
        return "name", CODE

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(entry, "machine_code", machine_code)
    for expected in (1, 1):
        assert artefact._kept_or_made() == ("name", CODE)
        assert len(made) == expected
    (kept,) = (tmp_path / "fewseconds").iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    for expected in (2, 2):
        assert artefact._kept_or_made() == ("name", CODE)
        assert len(made) == expected
    mine = artefact.key()
    monkeypatch.setattr(artefact, "key", lambda: mine[:16] + "another processor")
    assert artefact._kept_or_made() == ("name", CODE)
    assert len(made) == 3


def test_the_key_knows_numbas_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that was optimised otherwise is another's."""
    before = artefact.key()
    assert artefact.key() == before
    monkeypatch.setenv("NUMBA_OPT", "1")
    assert artefact.key() != before


def test_the_key_is_made_of_every_module_that_is_compiled() -> None:
    """Whatever the compiled modules import of ours is itself part of the key."""
    folder = Path(artefact.__file__).parent
    known = {f"sim.{name}" for name in artefact.SOURCES}
    known |= {f"fewseconds.{name}" for name in ("chance", "journey", "pace", "station", "timeline")}
    for name in artefact.SOURCES:
        for node in ast.parse((folder / f"{name}.py").read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                package = node.module.partition(".")[0]
                if package not in {"sim", "fewseconds"}:
                    continue
                found = (
                    {f"{node.module}.{one.name}" for one in node.names}
                    if node.module == package
                    else {node.module}
                )
                assert found - NOT_COMPILED <= known, name


def test_an_array_of_another_kind_is_refused() -> None:
    """Machine code cannot check what it is given, so that is done before."""
    scenario = scenario_file.load("smoke", {"consumers": 10})

    def forget(_: NDArray[np.int64]) -> None:
        pass

    city = Machine(Flat(scenario, 1), forget, forget).city
    assert artefact.run(city) == layout.WANTS_PLAN
    for wrong in (
        city.heap.astype(np.int32),
        city.heap[0],
        np.asfortranarray(np.zeros((4, 3), np.int64)),
    ):
        with pytest.raises(TypeError, match="'heap': int"):
            artefact.run(city._replace(heap=wrong))


SEEN = """
import sys
from fewseconds import scenario_file
from fewseconds.plan import plan
from sim import engines
walk = plan(scenario_file.load("smoke", {"consumers": 100}))
seen = []
engines.walk(walk, progress=lambda _: seen.append(set(sys.modules)), rows=False)
print(*sorted({"numba", "pandas", "polars", "scipy"} & seen[0]))
"""


def test_a_process_that_finds_machine_code_needs_no_compiler() -> None:
    """Neither the compiler nor a library of tables is imported before the city begins to move."""
    artefact.prepare()
    done = subprocess.run(
        [sys.executable, "-c", SEEN], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == ""
