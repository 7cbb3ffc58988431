"""The end of what a script prints, where the container's log is read slowly."""

from __future__ import annotations

import os
import select
import sys
import threading

import pytest

from trainyard_runner import child, tee
from trainyard_runner.child import Minder
from trainyard_runner.spool import LogSpool
from trainyard_runner.tee import Tee
from trainyard_runner.warnings import Warnings

PIPE_BYTES = 64 * 1024
# More than fits into the container's log, and no more than fits into that and the script's own pipe.
PRINTED = b"".join(b"%09d\n" % number for number in range((PIPE_BYTES + PIPE_BYTES // 2) // 10))
SCRIPT = f"import os\nfor n in range({len(PRINTED) // 10}): os.write(1, b'%09d\\n' % n)"


@pytest.fixture
def minder(monkeypatch):
    """Start scripts without taking over the signals of the tests."""
    monkeypatch.setattr(child.signal, "signal", lambda *_: None)
    monkeypatch.setattr(child, "LEFTOVER_SECONDS", 0.05)
    monkeypatch.setattr(tee, "LAST_SECONDS", 0.05)
    return Minder()


def test_the_end_is_kept_however_late_somebody_reads_the_containers_log(minder, tmp_path):
    pipe = minder.start([sys.executable, "-c", SCRIPT], cwd=tmp_path, env={})
    reading, writing = os.pipe()
    spool = LogSpool(tmp_path / "logs")
    copier = Tee(pipe=pipe, out=writing, spool=spool, warnings=Warnings())
    copier.start()
    os.waitpid(minder._pid, 0)
    stop, stopped, killed = copier.stop, threading.Event(), []

    def say_stopped():
        stop()
        stopped.set()

    copier.stop = say_stopped
    drain = threading.Thread(target=lambda: killed.append(minder.drain(copier)))
    drain.start()
    assert stopped.wait(60)
    # Only now, when the time that was left for it is over too.
    drain.join(0.1)
    log = b""
    while len(log) < len(PRINTED) and select.select([reading], [], [], 10)[0]:
        log += os.read(reading, PIPE_BYTES)
    drain.join(60)
    spool.close()
    assert log == PRINTED
    assert b"".join(path.read_bytes() for path in spool.whole()) == PRINTED
    assert killed == [False], "nothing was left running"
    os.close(reading)
    os.close(writing)
