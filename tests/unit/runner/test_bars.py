"""Progress that nobody reports but a tqdm bar shows."""

from __future__ import annotations

import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tqdm import tqdm

from tests.support.pace import slowness
from trainyard_runner.bars import HELD_CHARS, BarReader


def read(*chunks):
    """Return what is known after these chunks."""
    reader = BarReader()
    for chunk in chunks:
        reader.feed(chunk if isinstance(chunk, bytes) else chunk.encode())
    return reader.progress


BARS = [
    pytest.param(
        "\r 20%|██        | 2/10 [00:12<00:48,  1.00it/s]", {"percent": 20.0, "etaSeconds": 48.0}, id="plain"
    ),
    pytest.param(
        "\rtraining:  20%|██| 2/10 [00:12<01:00:48, 6.08s/it, loss=0.5]",
        {"percent": 20.0, "etaSeconds": 3648.0, "message": "training"},
        id="description and hours",
    ),
    pytest.param("\r  0%|          | 0/10 [00:00<?, ?it/s]", {"percent": 0.0}, id="no estimate yet"),
    pytest.param("\r33%|##| 1/3 [00:01<00:02]", {"percent": 33.3, "etaSeconds": 2.0}, id="more exact than it shows"),
    pytest.param("\r45%|##| 4.5M/10.0M [00:01<00:02]", {"percent": 45.0, "etaSeconds": 2.0}, id="scaled units"),
    pytest.param("\r45%|##| 450k/1.0M [00:01<00:02]", {"percent": 45.0, "etaSeconds": 2.0}, id="different units"),
    pytest.param("\rEpoch 1: fit: 50%|##| 1/2 [00:01<00:01]", {"percent": 50.0, "etaSeconds": 1.0, "message": "Epoch 1: fit"}, id="colon in the description"),
    pytest.param("\r100%|##| 2/2 [00:01<00:00]\nnext line\n", {"percent": 100.0, "etaSeconds": 0.0}, id="done"),
    pytest.param("\r250%|##| 5/2 [00:01<00:00]", {"percent": 100.0, "etaSeconds": 0.0}, id="more than all"),
    pytest.param("5it [00:01, 4.99it/s]", None, id="no total"),
    pytest.param("accuracy 50%|x| 1/2 of them\n", None, id="something like it in a sentence"),
    pytest.param("50% done\n", None, id="percent alone"),
    pytest.param("\r50%|" + "█" * 5000 + "| 1/2 [00:01<00:01]", None, id="a bar without an end"),
    pytest.param("\r50%|██| " + "9" * 400 + "/1 [00:01<00:01]", {"percent": 100.0, "etaSeconds": 1.0}, id="huge count"),
    pytest.param("\r50%|██| 1/0 [00:01<::]", {"percent": 50.0, "etaSeconds": 0.0}, id="nonsense"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BARS)
def test_a_bar_is_read(text, expected):
    assert read(text) == expected
    for cut in range(1, len(text.encode())):
        raw = text.encode()
        assert read(raw[:cut], raw[cut:]) == expected or "█" in text or "#" in text


def drawn(draw):
    """Return what tqdm itself prints."""
    out = io.StringIO()
    draw(out)
    return out.getvalue()


def nested(out):
    for _ in tqdm(range(4), desc="epochs", file=out, mininterval=0, leave=True):
        for _ in tqdm(range(50), desc="batches", file=out, mininterval=0, position=1, leave=False):
            pass


def one_after_another(out):
    for number in range(3):
        for _ in tqdm(range(10), desc=f"epoch {number}", file=out, mininterval=0):
            pass


def with_lines_between(out):
    for number in tqdm(range(10), desc="fit", file=out, mininterval=0):
        out.write(f"line {number}\n")


DRAWN = [
    pytest.param(nested, "epochs", [0.0, 25.0, 50.0, 75.0, 100.0], id="nested"),
    pytest.param(one_after_another, "epoch 2", None, id="one after another"),
    pytest.param(with_lines_between, "fit", None, id="with lines between"),
]


@pytest.mark.parametrize(("draw", "message", "steps"), DRAWN)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_of_several_bars_the_outermost_counts_and_of_those_the_last(draw, message, steps, size):
    raw, reader, seen = drawn(draw).encode(), BarReader(), []
    for start in range(0, len(raw), size):
        reader.feed(raw[start : start + size])
        if reader.progress is not None and (not seen or seen[-1] != reader.progress["percent"]):
            seen.append(reader.progress["percent"])
    assert reader.progress["message"] == message
    assert reader.progress["percent"] == 100
    if steps and size < 100:
        assert seen == steps


@given(st.lists(st.sampled_from(["\r", "\n", "\x1b[A", " 50%|██| 1/2 [00:01<00:01]", "x" * 2000, "%|", ": ", "|"])))
def test_whatever_is_printed_little_is_held(pieces):
    reader = BarReader()
    for piece in pieces:
        reader.feed(piece.encode())
        assert len(reader._held) <= HELD_CHARS


def test_output_without_bars_costs_next_to_nothing():
    chunk = (b"y" * 99 + b"\n") * 655
    reader = BarReader()
    began = time.process_time()
    for _ in range(1500):
        reader.feed(chunk)
    assert time.process_time() - began < 0.5 * slowness(), "100 MB"


BAR = """
import os, sys, time
from trainyard import Run
for n in range(3):
    sys.stderr.write(f"\\rfit: {n * 10:3}%|#| {n}/10 [00:0{n}<00:1{n}, 1.0it/s]")
    sys.stderr.flush()
while not os.path.exists("go"):
    time.sleep(0.02)
"""


def test_a_bar_is_reported_until_the_script_reports_something_itself(pod, wait_until):
    pod.prepared(BAR + "Run.get_context().progress(90, 'almost')\n").start()

    def told():
        return [report.get("progress") for _, report in pod.yard.gateway.reports]

    wait_until(lambda: {"percent": 20.0, "etaSeconds": 12.0, "message": "fit"} in told())
    (pod.layout.work / "go").touch()
    assert pod.wait() == 0
    assert told()[-1] == {"percent": 90.0, "message": "almost"}
    assert "fit:  20%" in pod.saved_log()
