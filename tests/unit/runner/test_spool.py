"""The log on the pod's disk: whole while that costs little, bounded always, and cut in the middle before it holds up."""

from __future__ import annotations

import re
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainyard_runner.spool import LogSpool

NOTICE = re.compile(rb"\n\[trainyard: (\d+) bytes of the log were cut out here, because the object store was away\]\n")


def line(number):
    """Return one of many lines of 10 bytes."""
    return b"%09d\n" % number


class Shipper:
    """A reader of the spool, as `LogShipper` is one, and what the store then has."""

    def __init__(self, spool):
        self.spool = spool
        self.number = 1
        self.store = {}

    def take(self):
        """Carry one part away if there is one."""
        size, sealed = self.spool.state(self.number)
        if not size:
            return
        self.store[self.number] = self.spool.path(self.number).read_bytes()[:size]
        if sealed:
            self.spool.sent(self.number)
            self.number = self.spool.after(self.number) or self.number + 1
        else:
            self.spool.seal(self.number)

    def take_all(self):
        """Carry away what there is."""
        self.spool.close()
        while self.spool.state(self.number)[0]:
            self.take()

    @property
    def log(self):
        """What the parts tell."""
        return b"".join(self.store[number] for number in sorted(self.store))


def whole(spool):
    """Return the whole log from the disk."""
    return b"".join(path.read_bytes() for path in spool.whole())


@pytest.fixture
def spool(tmp_path):
    """Ten parts of ten lines, and no patience."""
    return LogSpool(tmp_path / "logs", bound=1000, part_bytes=100, stall_seconds=0.01)


def disk(spool):
    """Return how many bytes are on the disk."""
    return sum(path.stat().st_size for path in spool._folder.iterdir())


def test_parts_that_were_sent_stay_for_the_whole_log(spool):
    shipper = Shipper(spool)
    for number in range(50):
        spool.write(line(number))
        shipper.take()
    shipper.take_all()
    assert whole(spool) == shipper.log == b"".join(map(line, range(50)))


def test_beyond_the_bound_what_was_sent_leaves_the_disk_and_nothing_is_lost(spool):
    shipper = Shipper(spool)
    for number in range(1000):
        spool.write(line(number))
        if number % 10 == 0:
            shipper.take_all()
        assert disk(spool) <= 1000
    shipper.take_all()
    assert spool.whole() is None
    assert shipper.log == b"".join(map(line, range(1000)))


def test_while_the_store_is_away_the_middle_is_cut_out_and_counted(spool):
    spool.state(1)
    for number in range(1000):
        spool.write(line(number))
        assert disk(spool) <= 1000
    shipper = Shipper(spool)
    shipper.take_all()
    (notice,) = NOTICE.finditer(shipper.log)
    before, after = shipper.log[: notice.start()], shipper.log[notice.end() :]
    assert int(notice[1]) + len(before) + len(after) == 10_000
    assert before == b"".join(map(line, range(len(before) // 10)))
    assert after == b"".join(map(line, range(1000 - len(after) // 10, 1000)))
    assert len(before) >= 400
    assert len(after) >= 300
    assert whole(spool) == shipper.log


def test_a_second_outage_cuts_a_second_time(spool):
    shipper = Shipper(spool)
    for number in range(200):
        spool.write(line(number))
    shipper.take_all()
    for number in range(200, 500):
        spool.write(line(number))
    shipper.take_all()
    notices = NOTICE.findall(shipper.log)
    assert len(notices) == 2
    assert sum(map(int, notices)) + len(NOTICE.sub(b"", shipper.log)) == 5000


def test_a_script_waits_for_a_store_that_is_slow_and_loses_nothing(tmp_path):
    spool = LogSpool(tmp_path / "logs", bound=1000, part_bytes=100, stall_seconds=300)
    shipper = Shipper(spool)
    written = threading.Event()

    def write():
        for number in range(1000):
            spool.write(line(number))
        written.set()

    threading.Thread(target=write, daemon=True).start()
    until = time.monotonic() + 300
    while not written.is_set():
        shipper.take()
        assert time.monotonic() < until
    shipper.take_all()
    assert shipper.log == b"".join(map(line, range(1000)))


def test_a_script_waits_once_for_a_store_that_is_away(tmp_path, monkeypatch):
    spool = LogSpool(tmp_path / "logs", bound=1000, part_bytes=100, stall_seconds=0.5)
    waited, wait_for = [], spool._changed.wait_for
    monkeypatch.setattr(spool._changed, "wait_for", lambda *about: waited.append(about[1]) or wait_for(*about))
    began = time.monotonic()
    for number in range(1000):
        spool.write(line(number))
    assert time.monotonic() - began >= 0.5
    assert waited == [0.5]
    spool.close()


@given(st.lists(st.one_of(st.integers(1, 300), st.none()), max_size=60))
def test_each_byte_is_in_the_store_once_or_counted_as_cut(tmp_path_factory, steps):
    spool = LogSpool(tmp_path_factory.mktemp("spool") / "logs", bound=1000, part_bytes=100, stall_seconds=0)
    shipper, written = Shipper(spool), b""
    for number, step in enumerate(steps):
        if step is None:
            shipper.take()
        else:
            data = bytes([97 + number % 26]) * (step - 1) + b"\n"
            spool.write(data)
            written += data
            assert disk(spool) <= 1000 + 400
    shipper.take_all()
    cut = sum(map(int, NOTICE.findall(shipper.log)))
    assert cut + len(NOTICE.sub(b"", shipper.log)) == len(written)
    if not cut:
        assert shipper.log == written
    if spool.whole() is not None:
        assert whole(spool) == shipper.log
