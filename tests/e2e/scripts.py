"""The training scripts of the end-to-end tests, each about one thing that can happen to a run."""

from __future__ import annotations

FINE = """
from trainyard import Run
run = Run.get_context()
run.log("accuracy", 0.5)
import os
os.makedirs("outputs", exist_ok=True)
open("outputs/model.bin", "wb").write(b"model")
print("done")
"""

EXIT_3 = """
print("first line")
print("I give up")
raise SystemExit(3)
"""

SAVE_AND_EXIT_3 = """
import os
os.makedirs("outputs", exist_ok=True)
open("outputs/half.bin", "wb").write(b"half")
print("I give up")
raise SystemExit(3)
"""

FAILS_ONCE = """
import os
if os.environ["TRAINYARD_ATTEMPT"] == "1":
    raise SystemExit("not today")
os.makedirs("outputs", exist_ok=True)
open("outputs/model.bin", "wb").write(b"model")
"""

SEGFAULT = """
import ctypes
ctypes.string_at(0)
"""

# Keeps the file, so that it is seen by whoever measures from time to time.
FILLS_ITS_DISK = """
import time
with open("/tmp/large", "wb") as file:
    for _ in range(64):
        file.write(bytes(1 << 20))
print("wrote too much", flush=True)
time.sleep(300)
"""

NO_SPACE = """
with open("/dev/full", "wb") as file:
    file.write(b"x")
"""

TOO_MANY_FILES = """
import os
os.makedirs("outputs")
for n in range(20_001):
    open(f"outputs/{n:05d}", "w").close()
"""

DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    time.sleep(1)
"""

STOPS_IN_GOOD_ORDER = """
import os, signal, sys, time
from trainyard import Run
def stop(*_):
    os.makedirs("outputs", exist_ok=True)
    open("outputs/part.bin", "wb").write(b"so far")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
Run.get_context().log("early", 1)
while True:
    time.sleep(1)
"""

COUNTS_ON = """
import os, time
from trainyard import Run
state = os.path.join(os.environ["TRAINYARD_CHECKPOINT_DIR"], "state.txt")
me = "attempt " + os.environ["TRAINYARD_ATTEMPT"]
if os.path.exists(state):
    os.makedirs("outputs")
    open("outputs/counted.txt", "w").write(open(state).read() + ", " + me)
else:
    open(state + ".tmp", "w").write(me)
    os.rename(state + ".tmp", state)
    Run.get_context().save_checkpoint()
    Run.get_context().log("early", 1)
    time.sleep(600)
"""

SYNTAX_ERROR = """
def broken(:
"""

HUNGRY = """
hoard = []
while True:
    hoard.append(bytearray(16 << 20))
"""

ARGUMENTS = """
import json, os, sys
os.makedirs("outputs", exist_ok=True)
json.dump(sys.argv[1:], open("outputs/argv.json", "w"))
"""

ODD_OUTPUTS = """
import os
os.makedirs("outputs/sub", exist_ok=True)
os.symlink("/etc/passwd", "outputs/passwd")
os.symlink("/etc", "outputs/etc")
os.mkfifo("outputs/pipe")
open("outputs/sub/fine.txt", "w").write("fine")
open("outside.txt", "w").write("not an output")
"""

MANY_FILES = """
import os
os.makedirs("outputs/many", exist_ok=True)
for number in range(2000):
    with open(f"outputs/many/{number:04}.txt", "w") as file:
        file.write(str(number))
"""

NO_OUTPUTS = """
print("nothing to keep")
"""

LOUD = r"""
import os, sys
os.write(1, b"torn \xe2\x82 utf-8\n")
os.write(1, b"x" * (1 << 20) + b"\n")
block = ("y" * 99 + "\n") * 10000
for _ in range(100):
    sys.stdout.write(block)
print("the last line")
"""

ODD_METRICS = """
from trainyard import Run
run = Run.get_context()
run.log("a.b/c", 1)
run.log("n" * 300, 2)
run.log("not a number", float("nan"))
run.log("up", float("inf"))
run.log("down", float("-inf"))
for number in range(10000):
    run.log("fast", number)
for number in range(100):
    run.log(f"many {number}", number)
"""

LIVE = """
import sys, time
from trainyard import Run
run = Run.get_context()
run.log("early", 1.5)
run.progress(40, message="warming up")
print("said early", time.time(), flush=True)
while True:
    time.sleep(1)
"""


# All that a script can say of its run, and more than a status has room for.
TALKATIVE = """
import os, sys
from trainyard import Run
run = Run.get_context()
run.set_tags({"data": "mnist", "ä": "ö"})
run.add_properties({"seed": 7})
for number in range(10_000):
    run.log(f"{number} " + "ü" * 300, number)
run.log_row("epoch", epoch=1, loss=0.5)
run.log_list("losses", [3, 2, 1], description="falling")
os.makedirs("outputs/many", exist_ok=True)
for number in range(5000):
    open(f"outputs/many/{number:04}", "w").close()
open("picture.png", "wb").write(b"png")
run.log_image("picture", path="picture.png")
run.upload_file("model.bin", "picture.png")
model = run.register_model("MODEL", "model.bin", tags={"kind": "test"}, description="from inside")
print(model, run.get_metrics("losses"))
for number in range(30_000):
    print(f"{number:06} " + "z" * 92)
"""

SAYS_IT_FAILED = """
from trainyard import Run
Run.get_context().fail(error_details="there is no data")
"""

WISHES_WHAT_IT_HAS_NOT = """
from trainyard import Run
run = Run.get_context()
run.upload_file("other.bin", __import__("io").BytesIO(b"other"))
run.register_model("never", "outputs/none.bin")
"""

# What tqdm prints, in an image that does not have it.
BAR = """
import sys, time
for number in range(60):
    sys.stderr.write(f"\\rfit: {number:3}%|#| {number}/100 [00:{number:02}<01:00, 1.00it/s]")
    sys.stderr.flush()
    time.sleep(0.25)
"""

STUBBORN = """
import os, time
from trainyard import Run
os.makedirs("outputs", exist_ok=True)
open("outputs/part.bin", "wb").write(b"so far")
Run.get_context().log("early", 1)
while True:
    time.sleep(1)
"""


def kills_itself(number: int) -> str:
    """Return a script that ends by a signal."""
    return f"import os; os.kill(os.getpid(), {number})"


def sleeping(seconds: float) -> str:
    """Return a script that works for a while and then saves something."""
    return f"""
import os, time
from trainyard import Run
run = Run.get_context()
run.log("early", 1)
end = time.time() + {seconds}
while time.time() < end:
    time.sleep(0.2)
os.makedirs("outputs", exist_ok=True)
open("outputs/model.bin", "wb").write(b"model")
run.log("accuracy", 0.5)
"""


TOLD = "/tmp/told"

# Works until it is told that it is enough, by a file.
UNTIL_TOLD = f"""
import os, time
from trainyard import Run
run = Run.get_context()
run.log("early", 1)
while not os.path.exists("{TOLD}"):
    time.sleep(0.2)
os.makedirs("outputs", exist_ok=True)
open("outputs/model.bin", "wb").write(b"model")
run.log("accuracy", 0.5)
"""

# Never ends by itself in its first attempt, and at once in a later one.
ENDS_LATER = """
import os, time
while os.environ["TRAINYARD_ATTEMPT"] == "1":
    time.sleep(1)
"""

# Tries what no run may do: another run's grants, another namespace's data, a model's folder.
INTRUDER = """
import json, os, ssl, urllib.error, urllib.request
context = ssl.create_default_context(cadata=os.environ["TRAINYARD_CA"])
token = open("/var/run/secrets/trainyard/token").read()

def ask(path, body):
    request = urllib.request.Request(os.environ["TRAINYARD_GATEWAY"] + path, data=json.dumps(body).encode(),
        headers={"Authorization": "Bearer " + token, "Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, context=context) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)

wishes = {
    "own output": {"op": "put", "files": [{"path": "outputs/x", "bytes": 1}]},
    "up": {"op": "put", "files": [{"path": "../other/outputs/x", "bytes": 1}]},
    "absolute": {"op": "put", "files": [{"path": "/models/default/m/1/x", "bytes": 1}]},
    "models": {"op": "put", "files": [{"path": "models/default/m/1/x", "bytes": 1}]},
    "source": {"op": "put", "files": [{"path": "source.tar.gz", "bytes": 1}]},
    "another attempt": {"op": "put", "files": [{"path": "attempts/2/outputs/x", "bytes": 1}]},
    "a checkpoint to come": {"op": "checkpoint", "attempt": 2, "after": ""},
    "undeclared input": {"op": "input", "name": "secret", "after": ""},
    "people's list": {"op": "list", "area": "data", "prefix": "", "after": ""},
    "people's put": {"op": "data-put", "files": [{"path": "x", "bytes": 1}]},
}
answers = {name: ask("/v1/grants", wish) for name, wish in wishes.items()}
own = answers["own output"][1]["files"][0]
stolen = own["url"].replace("/outputs/x", "/outputs/y")
request = urllib.request.Request(stolen, data=b"1", method="PUT", headers=own["headers"])
try:
    answers["changed url"] = (urllib.request.urlopen(request).status, {})
except urllib.error.HTTPError as error:
    answers["changed url"] = (error.code, {})
try:
    request = urllib.request.Request(
        "https://kubernetes.default.svc/api", headers={"Authorization": "Bearer " + token})
    answers["api server"] = (urllib.request.urlopen(request, context=ssl._create_unverified_context()).status, {})
except urllib.error.HTTPError as error:
    answers["api server"] = (error.code, {})
os.makedirs("outputs", exist_ok=True)
json.dump({name: code for name, (code, _) in answers.items()}, open("outputs/codes.json", "w"))
"""

# Asks for a model that its pod's service account has no right to.
CURIOUS = (
    FINE
    + """
import ssl, urllib.error, urllib.request
asked = urllib.request.Request(
    os.environ["TRAINYARD_GATEWAY"] + "/v1/grants",
    data=b'{"op": "model", "model": "digits"}',
    headers={"Authorization": "Bearer " + open("/var/run/secrets/trainyard/token").read()},
)
try:
    urllib.request.urlopen(asked, context=ssl.create_default_context(cadata=os.environ["TRAINYARD_CA"]))
    raise SystemExit("a run was given a model")
except urllib.error.HTTPError as error:
    assert error.code == 403, error.code
"""
)
