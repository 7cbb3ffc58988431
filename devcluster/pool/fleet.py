"""The machines of the pool as they are on this computer: started, found again after a restart, and removed.

A machine is a program of the cluster's machine, with a folder and a cgroup of its own. The folder says for which Node
it is and is written first, so whatever half of a machine there may be is found by it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from devcluster.cgroups import Cgroup
from devcluster.components import Component
from devcluster.errors import DevclusterError
from devcluster.layout import read_json, write_atomically
from devcluster.machine import JOIN
from devcluster.pool import configuration, init
from devcluster.pool.settings import PROGRAM, free_index
from devcluster.waiting import wait_for

if TYPE_CHECKING:
    from devcluster.machine import Machine
    from devcluster.pool.plan import PoolNode
    from devcluster.pool.settings import Settings

RECORD = "node.json"
TEMPLATE = f"{PROGRAM}-template"
TRASH = "trash"
STOP_SECONDS = 20


@dataclass(frozen=True)
class Record:
    """Which Node a machine is for."""

    index: int
    name: str
    uid: str


def records(folder: Path) -> dict[str, Record]:
    """Find the machines that are on disk, by the uid of their Node.

    Parameters
    ----------
    folder
        The folder of all machines.
    """
    found = {}
    for file in folder.glob(f"*/{RECORD}"):
        content = read_json(file)
        if file.parent.name.isdecimal() and "uid" in content:
            record = Record(index=int(file.parent.name), name=content["name"], uid=content["uid"])
            found[record.uid] = record
    return found


def take_template(*, containerd: Path, template: Path) -> None:
    """Make a template of a containerd that does not run and has never had a pod.

    Parameters
    ----------
    containerd
        Its folder.
    template
        The template's.
    """
    unfinished = template.with_name(f"{template.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    init.clone(containerd, unfinished / "containerd")
    unfinished.rename(template)


class Fleet:
    """All machines of the pool.

    Parameters
    ----------
    settings
        What the agent knows.
    machine
        The cluster's machine, whose process 1 starts ours and survives the agent.
    """

    def __init__(self, *, settings: Settings, machine: Machine) -> None:
        self._settings = settings
        self._machine = machine
        self._removing: list[subprocess.Popen[bytes]] = []
        self._template = settings.template
        self._template_failed = False

    def tidy(self) -> None:
        """Remove what an agent that was killed left half removed, and templates of other images."""
        if not self._unfinished.exists() and TEMPLATE in self._machine.programs():
            self._cgroup(TEMPLATE).kill()
            self._forget(TEMPLATE)
        for path in self._settings.folder.iterdir():
            half = path.name.isdecimal() and not (path / RECORD).exists()
            ours = path in {self._template, self._unfinished}
            if half or (path.name.startswith(("template-", TRASH)) and not ours):
                self._discard(path)

    def refresh(self) -> None:
        """Give the images of today to machines that were started with those of yesterday."""
        images = {reference: str(archive) for reference, archive in self._settings.images.items()}
        programs = self._machine.programs()
        for record in records(self._settings.folder).values():
            slot = self._settings.slot(record.index)
            file, program = slot.home / init.SETTINGS, programs.get(slot.program)
            settings = read_json(file)
            if program and program.status is None and settings.get("images") not in (None, images):
                write_atomically(file, json.dumps({**settings, "images": images}))
                # The program is what keeps process 1; that one is its only child.
                children = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text(encoding="ascii")
                for child in children.split():
                    os.kill(int(child), signal.SIGHUP)

    def prepare(self) -> bool:
        """Unpack the images once for all machines; True when that is done, or has failed and each does it itself.

        Only for images that came when the fixed node had pods already: `take_template` is quicker.
        """
        if self._template.exists() or self._template_failed:
            return True
        program = self._machine.programs().get(TEMPLATE)
        if program is None:
            self._discard(self._unfinished)
            self._unfinished.mkdir(parents=True)
            configuration.write_template(self._settings, self._unfinished, program=TEMPLATE)
            # There is time until the first machine, and others want the processor now.
            self._launch(TEMPLATE, self._unfinished, nice=True)
        elif program.status is not None:
            self._machine.forget(TEMPLATE)
            self._cgroup(TEMPLATE).remove()
            if program.status == 0:
                self._unfinished.rename(self._template)
            self._template_failed = program.status != 0
        return self._template.exists() or self._template_failed

    def machines(self) -> dict[str, bool]:
        """Tell which machines there are, by the uid of their Node, and whether they run."""
        self._removing = [process for process in self._removing if process.poll() is None]
        programs = self._machine.programs()

        def runs(record: Record) -> bool:
            program = programs.get(self._settings.slot(record.index).program)
            return program is not None and program.status is None

        return {uid: runs(record) for uid, record in records(self._settings.folder).items()}

    def start(self, node: PoolNode) -> None:
        """Start the machine of a Node, in a free place or in that which it had."""
        known = records(self._settings.folder)
        if node.uid in known:
            index: int | None = known[node.uid].index
        else:
            index = free_index(record.index for record in known.values())
        if index is None:
            raise DevclusterError(f"there is no place for a machine for {node.name}: all are taken")
        slot = self._settings.slot(index)
        write_atomically(slot.home / RECORD, json.dumps({"name": node.name, "uid": node.uid}))
        configuration.write(
            self._settings,
            slot,
            node=node,
            cgroup_root=self._cgroup(slot.program).pods,
            template=self._template if self._template.exists() else None,
        )
        self._forget(slot.program)
        self._launch(slot.program, slot.home)

    def power_off(self, uid: str) -> None:
        """End every process of a machine at once; its folder stays."""
        record = records(self._settings.folder).get(uid)
        if record:
            program = self._settings.slot(record.index).program
            self._cgroup(program).kill()
            self._forget(program)

    def remove(self, uid: str) -> None:
        """End a machine and leave nothing of it."""
        record = records(self._settings.folder).get(uid)
        if record:
            slot = self._settings.slot(record.index)
            self.power_off(uid)
            self._cgroup(slot.program).remove()
            self._discard(slot.home)

    def let_kubelets_restart(self, *, restart: bool) -> None:
        """Tell the machines whether a kubelet that ends is started again."""
        for record in records(self._settings.folder).values():
            file = self._settings.slot(record.index).home / init.NO_RESTART
            if restart:
                file.unlink(missing_ok=True)
            else:
                file.touch()

    @property
    def _unfinished(self) -> Path:
        return self._template.with_name(f"{self._template.name}.new")

    def _cgroup(self, program: str) -> Cgroup:
        return Cgroup(f"{self._settings.names.cgroup}/{program}")

    def _launch(self, program: str, home: Path, *, nice: bool = False) -> None:
        cgroup = self._cgroup(program)
        cgroup.create()
        script = f'{JOIN} {"nice " if nice else ""}unshare --mount --pid --fork --kill-child --mount-proc -- "$@"'
        process_1 = (sys.executable, "-I", init.__file__, str(home))
        argv = ("/bin/sh", "-c", script, str(cgroup.entry()), *process_1)
        self._machine.ensure(Component(name=program, argv=argv))

    def _forget(self, name: str) -> None:
        def ended() -> bool:
            program = self._machine.programs().get(name)
            return program is None or program.status is not None

        wait_for(ended, what=f"{name} to end", timeout=STOP_SECONDS)
        self._machine.forget(name)

    def _discard(self, path: Path) -> None:
        # Out of the way at once; thousands of links take a moment to remove.
        if not path.exists():
            return
        if not path.name.startswith(TRASH):
            number = max((int(old.name.partition("-")[2]) for old in path.parent.glob(f"{TRASH}-*")), default=0) + 1
            path = path.rename(path.with_name(f"{TRASH}-{number}"))
        self._removing.append(subprocess.Popen(["rm", "-rf", str(path)]))
