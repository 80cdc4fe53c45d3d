"""Files that go on after a kill: a write that was cut short counts for nothing."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mock_psp import line_file
from mock_psp.line_file import opened, whole_lines

LINE = st.binary(max_size=40).map(lambda line: line.replace(b"\n", b" "))


@given(written=st.lists(LINE, max_size=8), cut=LINE, more=st.lists(LINE, min_size=1, max_size=3))
def test_what_comes_after_a_cut_line_is_read(
    written: list[bytes], cut: bytes, more: list[bytes]
) -> None:
    """Whole lines stay, the piece behind them goes, and the next lines are lines of their own."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        # Looking for the last whole line, it has to go back over several pieces.
        patched.setattr(line_file, "PIECE_BYTES", 16)
        path = Path(folder) / "lines"
        path.write_bytes(b"".join(line + b"\n" for line in written) + cut)
        assert list(whole_lines(path)) == [line + b"\n" for line in written]
        descriptor = opened(path)
        for line in more:
            os.write(descriptor, line + b"\n")
        os.close(descriptor)
        # A file object of Python cuts lines without us.
        with path.open("rb") as file:
            assert file.readlines() == [line + b"\n" for line in (*written, *more)]


def test_a_file_that_is_not_there_is_made_for_its_owner(tmp_path: Path) -> None:
    """Nobody else may read it, and before that it has no lines."""
    path = tmp_path / "lines"
    assert list(whole_lines(path)) == []
    os.close(opened(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == b""
