"""What a script may go on from: the checkpoint folder, kept while it runs and given back to the next attempt.

A checkpoint is what lies in the folder once nothing in it has changed for a while. It is saved in one of two slots,
and the record that names the slot is written last, so that there is always a whole one in the object store. Names that
end in ``.tmp`` are not looked at: a script writes there and renames, so that no half written file is ever kept. A
script that knows that all is written asks for a save with a file of its own, and waits until that is gone.
"""

from __future__ import annotations

import json
import os
import threading
import time
from typing import TYPE_CHECKING, cast

from trainyard.contract import (
    CHECKPOINT,
    CHECKPOINT_FILE,
    CHECKPOINT_REQUEST,
    CHECKPOINT_SCHEMA,
    MAX_OUTPUT_FILES,
    CheckpointRecord,
    InvalidPathError,
    OutputFile,
    canonical_json,
    check_relative_path,
)
from trainyard.digest import digest_of
from trainyard.patience import TransferError
from trainyard.transfer import StoreRefused, Upload
from trainyard.uploads import GRANTS_PER_FILE, in_parallel, open_regular, put_file, put_files
from trainyard_runner.warnings import tell

if TYPE_CHECKING:
    from pathlib import Path

    from trainyard.contract import CheckpointFile
    from trainyard.transfer import GatewayClient, StoreClient
    from trainyard_runner.warnings import Warnings

LOOK_SECONDS = 5.0
ASK_SECONDS = 0.25
# How long the end of a run waits for a save that is under way before it leaves that one out.
JOIN_SECONDS = 300.0
UNFINISHED = ".tmp"

# Size and time of change of each file, by its name.
Look = dict[str, tuple[int, int]]


def look(folder: Path) -> Look:
    """Return what lies in the checkpoint folder: plain files with names that an object can have."""
    found: Look = {}
    pending = [""]
    while pending:
        below = pending.pop()
        try:
            entries = list(os.scandir(folder / below))
        except OSError:
            continue
        for entry in entries:
            name = below + entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(name + "/")
                elif entry.is_file(follow_symlinks=False) and _counts(name):
                    about = entry.stat(follow_symlinks=False)
                    found[name] = (about.st_size, about.st_mtime_ns)
            except OSError:
                continue  # gone in this moment
    return found


def _counts(name: str) -> bool:
    try:
        check_relative_path(name)
    except InvalidPathError:
        return False
    return not name.endswith(UNFINISHED) and name != CHECKPOINT_REQUEST


class CheckpointSaver(threading.Thread):
    """Saves the checkpoint folder of one attempt whenever it has changed and come to rest.

    Parameters
    ----------
    restored
        What `prepare` has put there: it is in the store already.
    """

    def __init__(
        self, *, folder: Path, restored: Look, gateway: GatewayClient, store: StoreClient, warnings: Warnings
    ) -> None:
        super().__init__(name="checkpoint-saver", daemon=True)
        self._folder = folder
        self._gateway = gateway
        self._store = store
        self._warnings = warnings
        self._saved = restored
        self._seen: Look | None = None
        # A pod that starts again in the same attempt must not write over what the record speaks of.
        self._pod = os.urandom(4).hex()
        self._slot = 0
        self._stopping = threading.Event()

    def run(self) -> None:
        """Look every few seconds, and when the script asks for it, until `finish`."""
        request, due = self._folder / CHECKPOINT_REQUEST, time.monotonic() + LOOK_SECONDS
        while not self._stopping.wait(ASK_SECONDS):
            asked = request.exists()
            if not asked and time.monotonic() < due:
                continue
            found = look(self._folder)
            if asked:
                self._seen = found
            self._take(found)
            if asked and (found == self._saved or not found):
                request.unlink(missing_ok=True)
            due = time.monotonic() + LOOK_SECONDS

    def finish(self, *, keep: bool) -> None:
        """End the looking; with `keep`, save what the script has left, which nobody changes any more."""
        self._stopping.set()
        self.join(JOIN_SECONDS)
        if not keep:
            return
        if self.is_alive():
            self._warnings.add("the last checkpoint was not saved: the object store was away for too long")
            return
        self._seen = found = look(self._folder)
        self._take(found)

    def _take(self, found: Look) -> None:
        at_rest = found == self._seen
        self._seen = found
        if not at_rest or not found or found == self._saved:
            return
        try:
            self._save(found)
        except (TransferError, OSError) as error:
            self._warnings.add(f"a checkpoint could not be saved: {error}")

    def _save(self, found: Look) -> None:
        if len(found) > MAX_OUTPUT_FILES:
            self._warnings.add(f"the checkpoint has more than {MAX_OUTPUT_FILES} files and was not saved")
            self._saved = found
            return
        number = 1 - self._slot
        slot = f"{self._pod}-{number}"
        files = in_parallel(self._file, sorted(found))
        uploads = [self._upload(slot, file) for file in files]
        put_files(uploads, gateway=self._gateway, store=self._store)
        if look(self._folder) != found:
            return  # the script went on while it was read: what is in the slot is no checkpoint
        record = CheckpointRecord(schema=CHECKPOINT_SCHEMA, slot=slot, files=files)
        content = canonical_json(record)
        put_file(Upload.of_bytes(CHECKPOINT_FILE, content), gateway=self._gateway, store=self._store)
        self._slot, self._saved = number, found

    def _file(self, name: str) -> OutputFile:
        with open_regular(self._folder / name) as file:
            sha256, size = digest_of(file)
        return OutputFile(path=name, bytes=size, sha256=sha256)

    def _upload(self, slot: str, file: OutputFile) -> Upload:
        path = self._folder / file["path"]
        name = f"{CHECKPOINT}/{slot}/{file['path']}"
        return Upload(path=name, size=file["bytes"], opener=lambda: open_regular(path), sha256=file["sha256"])


def restore(attempt: int, folder: Path, *, gateway: GatewayClient, store: StoreClient) -> Look:
    """Bring the checkpoint that an attempt has left, and return what lies in the folder then.

    One that cannot be had whole is left out: the script then begins where it would have begun without.
    """
    trouble: Exception | None = None
    for _ in range(GRANTS_PER_FILE):
        try:
            for page in gateway.pages({"op": "checkpoint", "attempt": attempt}):
                in_parallel(lambda file: _fetch(cast("CheckpointFile", file), folder, store), page)
        except (TransferError, OSError) as error:  # noqa: PERF203 - three times at most
            # An address that has expired, or a pod that was given up and saves another one: the record is read anew.
            trouble = error
            _clear(folder)
        else:
            tell(f"the checkpoint of attempt {attempt} is restored to {folder}")
            return look(folder)
    tell(f"the checkpoint of attempt {attempt} could not be restored, the script begins without it: {trouble}")
    return {}


def read_look(path: Path) -> Look:
    """Return what `prepare` has noted of the restored checkpoint."""
    try:
        return {name: (size, changed) for name, (size, changed) in json.loads(path.read_text()).items()}
    except (OSError, ValueError):
        return {}


def _fetch(file: CheckpointFile, folder: Path, store: StoreClient) -> None:
    target = folder / check_relative_path(file["path"], what="the name of a checkpoint's file")
    target.parent.mkdir(parents=True, exist_ok=True)
    store.download(file["url"], target, size=file["bytes"])
    with target.open("rb") as content:
        sha256, _ = digest_of(content)
    if sha256 != file["sha256"]:
        raise StoreRefused(status=200, message=f"{file['path']} was replaced while it was being read")


def _clear(folder: Path) -> None:
    for name in look(folder):
        (folder / name).unlink(missing_ok=True)
