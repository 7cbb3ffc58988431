"""What a script leaves to go on from: whole or not at all, and back again in the next attempt."""

from __future__ import annotations

import hashlib
import json
import re
import signal

import pytest

from trainyard.contract import CHECKPOINT_SCHEMA

SAVES_AND_FAILS = """
import os
folder = os.environ["TRAINYARD_CHECKPOINT_DIR"]
os.makedirs(folder + "/deep")
open(folder + "/deep/state.bin", "wb").write(b"epoch 3")
open(folder + "/next.bin.tmp", "wb").write(b"half")
os.symlink("/etc/passwd", folder + "/link")
raise SystemExit(3)
"""
SAVES_AND_GOES_ON = """
import os, time
folder = os.environ["TRAINYARD_CHECKPOINT_DIR"]
open(folder + "/state.bin", "wb").write(b"epoch 1")
print("saved", flush=True)
time.sleep(600)
"""
ASKS = """
import os
from trainyard import Run
folder = os.environ["TRAINYARD_CHECKPOINT_DIR"]
Run.get_context().save_checkpoint()
for epoch in (1, 2):
    open(folder + "/state.bin", "w").write(f"epoch {epoch}")
    Run.get_context().save_checkpoint()
print(sorted(os.listdir(folder)))
"""
GOES_ON_FROM = """
import os
folder = os.environ["TRAINYARD_CHECKPOINT_DIR"]
os.makedirs("outputs")
open("outputs/found.txt", "w").write(open(folder + "/state.bin").read())
raise SystemExit(3)
"""


def record(pod):
    return json.loads(pod.yard.store.objects["checkpoint.json"])


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def offer(pod, content, *, slot="0a1b2c3d-1", said=None):
    """Let the gateway know of a checkpoint of attempt 2."""
    pod.yard.store.objects[f"checkpoint/{slot}/state.bin"] = content
    file = {"path": "state.bin", "bytes": len(content), "sha256": sha256(said or content)}
    found = {"schema": CHECKPOINT_SCHEMA, "slot": slot, "files": [file]}
    pod.yard.gateway.checkpoints.setdefault(2, []).append(found)


def test_what_a_failed_script_leaves_is_kept_but_for_what_is_unfinished(pod):
    assert pod.prepared(SAVES_AND_FAILS).execute() == 3
    slot = record(pod)["slot"]
    assert re.fullmatch("[0-9a-f]{8}-1", slot)
    assert record(pod) == {
        "schema": CHECKPOINT_SCHEMA,
        "slot": slot,
        "files": [{"path": "deep/state.bin", "bytes": 7, "sha256": sha256(b"epoch 3")}],
    }
    saved = {key: body for key, body in pod.yard.store.objects.items() if key.startswith("checkpoint/")}
    assert saved == {f"checkpoint/{slot}/deep/state.bin": b"epoch 3"}


def test_a_checkpoint_is_saved_while_the_script_goes_on_and_only_after_its_files(pod, wait_until):
    pod.prepared(SAVES_AND_GOES_ON).start()
    wait_until(lambda: "checkpoint.json" in pod.yard.store.objects)
    paths = [put.path for put in pod.yard.store.puts if put.path.startswith("checkpoint")]
    assert paths == [f"checkpoint/{record(pod)['slot']}/state.bin", "checkpoint.json"]
    pod.process.send_signal(signal.SIGTERM)
    assert pod.wait() == 143
    # What is saved already is not sent again.
    assert [put.path for put in pod.yard.store.puts if put.path.startswith("checkpoint")] == paths


def test_a_script_that_asks_has_its_checkpoint_saved_when_the_call_returns(pod):
    assert pod.prepared(ASKS).execute() == 0
    assert pod.saved_log().splitlines()[-1] == "['state.bin']"
    paths = [put.path for put in pod.yard.store.puts if put.path.startswith("checkpoint")]
    assert [path.rpartition("/")[2] for path in paths] == ["state.bin", "checkpoint.json"] * 2
    assert pod.yard.store.objects[f"checkpoint/{record(pod)['slot']}/state.bin"] == b"epoch 2"


def test_a_script_that_succeeds_leaves_none(pod):
    assert pod.prepared(SAVES_AND_FAILS.replace("raise SystemExit(3)", "")).execute() == 0
    assert not any(key.startswith("checkpoint") for key in pod.yard.store.objects)


def test_the_next_attempt_finds_what_the_one_before_has_left_and_does_not_send_it_again(pod):
    pod.serve_source({"train.py": GOES_ON_FROM}, checkpoint=2)
    offer(pod, b"epoch 7")
    assert pod.prepare() == 0
    assert pod.execute() == 3
    assert pod.yard.store.objects["outputs/found.txt"] == b"epoch 7"
    assert "checkpoint.json" not in pod.yard.store.objects


@pytest.mark.parametrize("tries", [1, 2])
def test_a_checkpoint_that_changes_while_it_is_read_is_read_again(pod, tries):
    pod.serve_source({"train.py": GOES_ON_FROM}, checkpoint=2)
    for _ in range(tries):
        offer(pod, b"torn", slot="0a1b2c3d-0", said=b"another")
    offer(pod, b"epoch 8")
    assert pod.prepare() == 0
    assert (pod.layout.checkpoint / "state.bin").read_bytes() == b"epoch 8"


def test_a_checkpoint_that_cannot_be_had_whole_is_left_out(pod):
    pod.serve_source({"train.py": GOES_ON_FROM}, checkpoint=2)
    for _ in range(3):
        offer(pod, b"torn", said=b"another")
    assert pod.prepare() == 0
    assert list(pod.layout.checkpoint.iterdir()) == []
