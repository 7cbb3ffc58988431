"""Folding output into lines: nothing printed is lost, and of what was overwritten the last state is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainyard_runner.lines import HELD_CHARS, LineFolder


def folded(*steps):
    """Return what comes out for chunks of bytes, with None for a look at the screen."""
    folder = LineFolder()
    out = "".join(folder.settle() if step is None else folder.feed(step) for step in steps)
    return out + folder.feed(b"", final=True) + folder.settle()


TABLE = [
    pytest.param([b"a\nb\n"], "a\nb\n", id="lines"),
    pytest.param([b"a", b"b", b"\n"], "ab\n", id="a line in pieces"),
    pytest.param([b"a", None, b"b", None, b"\n"], "ab\n", id="a line that was looked at"),
    pytest.param([b"\n\n\n"], "\n\n\n", id="empty lines"),
    pytest.param([b"1%\r2%\r3%\n"], "3%\n", id="a bar"),
    pytest.param([b"\r1%", b"\r2%", b"\r3%", b"\n"], "3%\n", id="a bar that begins with the return"),
    pytest.param([b"1%\r", None, b"2%\r", None, b"3%\r\n"], "1%\n2%\n3%\n", id="a bar that was looked at"),
    pytest.param([b"1%\r", None, None, None, b"\n"], "1%\n", id="looked at again without a change"),
    pytest.param([b"a\r\nb\r\n"], "a\nb\n", id="Windows"),
    pytest.param([b"a\r", b"\nb\r", b"\n"], "a\nb\n", id="Windows in pieces"),
    pytest.param([b"a\r\r\nb"], "a\nb", id="two returns"),
    pytest.param([b"\xe2", b"\x82", b"\xac\n"], "€\n", id="a character in pieces"),
    pytest.param([b"\xe2\x82\n"], "\ufffd\n", id="a torn character"),
    pytest.param([b"ok \xe2\x82"], "ok \ufffd", id="torn at the end"),
    pytest.param([b"x" * HELD_CHARS, b"y" * HELD_CHARS, b"\n"], "x" * HELD_CHARS + "y" * HELD_CHARS + "\n", id="long"),
]


@pytest.mark.parametrize(("steps", "expected"), TABLE)
def test_output_is_folded(steps, expected):
    assert folded(*steps) == expected


@given(chunks=st.lists(st.one_of(st.none(), st.binary(max_size=40))))
def test_without_returns_text_comes_out_as_it_went_in(chunks):
    chunks = [chunk if chunk is None else chunk.replace(b"\r", b"") for chunk in chunks]
    whole = b"".join(chunk for chunk in chunks if chunk is not None)
    assert folded(*chunks) == whole.decode(errors="replace")


@given(chunks=st.lists(st.text("ab\r\n", max_size=20)))
def test_pieces_make_no_difference_while_nobody_looks(chunks):
    assert folded(*(chunk.encode() for chunk in chunks)) == folded("".join(chunks).encode())


@given(st.lists(st.text("ab\r\n", max_size=20)))
def test_every_line_that_ends_is_there_in_its_last_state(chunks):
    text = "".join(chunks)
    ended = text.split("\n")[:-1]
    last_states = [next((part for part in reversed(line.split("\r")) if part), "") for line in ended]
    assert folded(text.encode()).split("\n")[: len(ended)] == last_states


@given(chunk=st.binary(min_size=1, max_size=200), times=st.integers(1, 50))
def test_what_is_held_back_stays_small(chunk, times):
    folder = LineFolder()
    for _ in range(times):
        folder.feed(chunk * 500)
        assert len(folder._line) <= HELD_CHARS
