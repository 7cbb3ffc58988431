"""What a script prints, however it prints it: in the container's log at once, in the object store soon after."""

from __future__ import annotations

import itertools
import time

import pytest

from tests.support.fake_yard import DROP
from trainyard import contract
from trainyard_runner.logs import SHIP_SECONDS
from trainyard_runner.tee import SETTLE_SECONDS

PRINTS = [
    pytest.param(
        r'os.write(1, b"torn \xe2\x82 here\n\xff\xfe\n")', "torn \ufffd here\n\ufffd\ufffd\n", id="torn UTF-8"
    ),
    pytest.param(r'os.write(1, "ä€😀\n".encode())', "ä€😀\n", id="whole UTF-8"),
    pytest.param(
        r'[(os.write(1, bytes([b])), time.sleep(0.02)) for b in "ä€😀\n".encode()]', "ä€😀\n", id="UTF-8 byte by byte"
    ),
    pytest.param(r'os.write(1, b"no end of line")', "no end of line", id="no end of line"),
    pytest.param(r'os.write(1, b"a\r\nb\r\n")', "a\nb\n", id="Windows line ends"),
    pytest.param(
        r'os.write(2, b"".join(f"\r{n:3}%".encode() for n in range(101)) + b"\n")', "100%\n", id="progress bar"
    ),
    pytest.param(r'os.write(1, b"x" * (1 << 20) + b"\nend\n")', "x" * (1 << 20) + "\nend\n", id="a line of 1 MiB"),
    pytest.param(r'os.write(1, b"\0\x1b[31mred\x1b[0m\n")', "\0\x1b[31mred\x1b[0m\n", id="control characters"),
    pytest.param(r'os.write(1, b"out\n"); os.write(2, b"err\n"); os.write(1, b"out\n")', "out\nerr\nout\n", id="order"),
    pytest.param("pass", "", id="nothing"),
]


@pytest.mark.parametrize(("statement", "expected"), PRINTS)
def test_what_is_printed_is_kept(pod, statement, expected):
    assert pod.prepared(f"import os, time\n{statement}\n").execute() == 0
    assert pod.saved_log() == expected
    assert pod.container_log() == expected
    assert pod.termination()["logTail"] == ("end\n" if expected.endswith("end\n") else expected)
    assert pod.termination()["reason"] is None


def test_a_hundred_megabytes_arrive_whole_while_the_runner_stays_small(pod):
    script = """
import sys, time
for number in range(1_000_000):
    if number % 100_000 == 0:
        time.sleep(0.4)  # longer in all than the log waits for its way to the store
    sys.stdout.write(f"{number:06d} " + "y" * 92 + "\\n")
"""
    pod.env["PYTHONUNBUFFERED"] = ""
    script = "import io, os, sys\nsys.stdout = io.TextIOWrapper(open(1, 'wb', buffering=1 << 16))\n" + script
    assert pod.prepared(script).execute(seconds=600) == 0
    lines = pod.saved_log().splitlines()
    assert len(lines) == 1_000_000
    assert all(int(line[:6]) == number and len(line) == 99 for number, line in enumerate(lines))
    parts = [put for put in pod.yard.store.puts if put.path.startswith(contract.LOG_PARTS)]
    assert max(put.bytes for put in parts) <= 4 << 20
    assert sum(put.bytes for put in parts) < 2 * 100_000_000, "parts were rewritten again and again"
    assert pod.max_rss_mb < 64
    assert pod.log_parts() == [], "the whole log has taken their place"


LIVE = """
import os, time
print("a line", flush=True)
os.write(1, b"a line without an end")
while not os.path.exists("go"):
    time.sleep(0.05)
"""


def test_a_printed_line_is_kept_back_for_less_than_five_seconds(pod, wait_until):
    # So long it is kept back on purpose; what comes on top is the machine's.
    assert SETTLE_SECONDS + SHIP_SECONDS < 5
    pod.prepared(LIVE).start()
    wait_until(lambda: "a line" in pod.saved_log())
    wait_until(lambda: "without an end" in pod.saved_log())
    (pod.layout.work / "go").touch()
    assert pod.wait() == 0
    assert pod.saved_log().endswith("without an end")


def test_a_log_that_grows_slowly_is_not_sent_from_its_beginning_for_ever(pod, wait_until):
    script = """
import os, time
for _ in range(3):
    print("z" * 300_000, flush=True)
    size = lambda: os.path.exists("go")
    while not os.path.exists(f"go{_}"):
        time.sleep(0.02)
"""
    pod.prepared(script).start()
    for number in range(3):
        wait_until(lambda number=number: len(pod.saved_log()) >= 300_001 * (number + 1))
        parts = pod.log_parts()
        (pod.layout.work / f"go{number}").touch()
    assert pod.wait() == 0
    # One more where a line was carried away before all of it was there.
    assert len(parts) in {3, 4}
    assert pod.saved_log() == ("z" * 300_000 + "\n") * 3


def test_a_reader_sees_each_line_once_at_any_time_over_a_store_that_fails_now_and_then(pod):
    script = """
import time
for number in range(60_000):
    if number % 6_000 == 0:
        time.sleep(0.4)
    print(f"{number:06d} " + "y" * 92)
"""
    faults = itertools.cycle([503, None, DROP, None, None])
    pod.yard.store.fault = lambda method, path: next(faults) if path.startswith("logs/") else None
    pod.prepared(script).start()
    seen = []
    while pod.process.poll() is None:
        seen.append(pod.saved_log())
        time.sleep(0.05)
    whole = "".join(f"{number:06d} " + "y" * 92 + "\n" for number in range(60_000))
    assert pod.saved_log() == whole
    assert all(whole.startswith(log) for log in seen)
    assert len({len(log) for log in seen}) > 2
    assert pod.log_parts() == []


def test_the_state_of_a_bar_is_shown_now_and_then(pod, wait_until):
    script = """
import os, time
os.write(2, b"\\r 10%")
while not os.path.exists("go"):
    time.sleep(0.02)
os.write(2, b"\\r 20%\\r 90%\\r100%\\n")
"""
    pod.prepared(script).start()
    wait_until(lambda: pod.container_log() == " 10%")
    (pod.layout.work / "go").touch()
    assert pod.wait() == 0
    assert pod.saved_log() == " 10%\n100%\n"


def test_the_tail_is_whole_lines_of_at_most_two_kilobytes(pod):
    script = "for n in range(1000): print(f'line {n:04d}')"
    assert pod.prepared(script).execute() == 0
    tail = pod.termination()["logTail"]
    assert 2000 < len(tail) <= 2048
    assert tail.startswith("line ")
    assert tail.endswith("line 0999\n")


def test_a_full_disk_costs_the_log_but_not_the_run(pod):
    # A file where the folder for log parts should be: nothing can be written there.
    pod.prepared("print('hello')")
    pod.layout.log_spool.write_text("")
    assert pod.execute() == 0
    assert pod.container_log().startswith("hello\n")
    assert any("log" in warning for warning in pod.manifest()["warnings"])


def test_a_container_log_that_nobody_reads_any_more_is_no_reason_to_stop(pod, tmp_path):
    script = "import os\nfor n in range(200): os.write(1, b'x' * 1000 + b'\\n')"
    pod.prepared(script)
    pod.prefix = ["sh", "-c", '"$@" | true; sleep 0; exit 0', "sh"]
    pod.execute()
    assert len(pod.saved_log()) == 200 * 1001
