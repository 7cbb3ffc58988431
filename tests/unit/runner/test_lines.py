"""Folding output into lines: nothing printed is lost, and of what was overwritten the last state is kept."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tqdm import tqdm

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
    pytest.param([b"out\n\rin 1\x1b[A\n\rin 2\x1b[A\rout 2\n"], "out\nout 2\n", id="a nested bar"),
    pytest.param(
        [b"out\n\rin 1", None, b"\x1b[A\n\rin 2\x1b[A\n"], "out\nin 1\n", id="a nested bar that was looked at"
    ),
    pytest.param([b"out\n\rin", b"\x1b", b"[", b"A", b"\rout 2\n"], "out\nout 2\n", id="a step up in pieces"),
    pytest.param([b"a line\x1b[A\nb"], "a line\nb", id="a step up from a line that nobody drew again"),
    pytest.param([b"\x1b[1mbold\x1b[0m\x1b"], "\x1b[1mbold\x1b[0m\x1b", id="other escapes"),
    pytest.param([b"x" * HELD_CHARS, b"y" * HELD_CHARS, b"\n"], "x" * HELD_CHARS + "y" * HELD_CHARS + "\n", id="long"),
]


@pytest.mark.parametrize(("steps", "expected"), TABLE)
def test_output_is_folded(steps, expected):
    assert folded(*steps) == expected


@given(chunks=st.lists(st.one_of(st.none(), st.binary(max_size=40))))
def test_without_returns_text_comes_out_as_it_went_in(chunks):
    chunks = [chunk if chunk is None else re.sub(rb"[\r\x1b]", b"", chunk) for chunk in chunks]
    whole = b"".join(chunk for chunk in chunks if chunk is not None)
    assert folded(*chunks) == whole.decode(errors="replace")


@given(chunks=st.lists(st.text("ab\r\n", max_size=20)))
def test_pieces_make_no_difference_while_nobody_looks(chunks):
    assert folded(*(chunk.encode() for chunk in chunks)) == folded("".join(chunks).encode())


@given(st.text("ab\r\n€😀\x1b[A", max_size=40))
def test_torn_at_any_byte_the_text_is_the_same(text):
    raw, whole = text.encode(), folded(text.encode())
    assert folded(*(raw[at : at + 1] for at in range(len(raw)))) == whole
    for cut in range(len(raw)):
        assert folded(raw[:cut], raw[cut:]) == whole


@given(st.binary(max_size=40))
def test_bytes_of_no_encoding_are_replaced_the_same_way_wherever_they_are_torn(raw):
    raw = re.sub(rb"[\r\x1b]", b"", raw)
    for cut in range(len(raw)):
        assert folded(raw[:cut], raw[cut:]) == raw.decode(errors="replace")


def test_bars_that_are_nested_leave_a_line_for_each_state_of_the_outer_one():
    out = io.StringIO()
    for _ in tqdm(range(4), desc="epochs", file=out, mininterval=0):
        for _ in tqdm(range(50), desc="batches", file=out, mininterval=0, position=1, leave=False):
            pass
    lines = folded(out.getvalue().encode()).splitlines()
    assert [line[:12] for line in lines] == [f"epochs: {percent:3}%" for percent in (0, 25, 50, 75, 100)]


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
