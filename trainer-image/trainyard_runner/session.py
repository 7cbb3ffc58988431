"""Everything around a script: its log and its metrics on their way out, and the order in which its end is saved."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

from trainyard.contract import (
    MANIFEST,
    MAX_LOG_TAIL_BYTES,
    METRICS_HISTORY,
    RUN_MANIFEST_SCHEMA,
    RunManifest,
    canonical_json,
)
from trainyard.patience import PATIENCE_SECONDS, TransferError, Unavailable
from trainyard.transfer import Upload
from trainyard.uploads import open_regular, put_file
from trainyard_runner.checkpoint import CheckpointSaver, read_look
from trainyard_runner.gateway import Clients
from trainyard_runner.logs import LogShipper
from trainyard_runner.metrics import MetricsTail
from trainyard_runner.outcome import called_off
from trainyard_runner.outputs import OutputsError, save_outputs
from trainyard_runner.ran import what_ran
from trainyard_runner.report import Reporter
from trainyard_runner.software import software
from trainyard_runner.spool import LogSpool
from trainyard_runner.tee import Tee
from trainyard_runner.termination import termination, write_termination
from trainyard_runner.warnings import Warnings, tell

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainyard.contract import OutputFile, Report, RunDocument
    from trainyard_runner.child import Minder
    from trainyard_runner.layout import Layout
    from trainyard_runner.outcome import Outcome

CONTAINER = "train"
NOT_SAVED = "OutputsNotSaved"
_STDOUT = 1
# What is left of the patience for the log when outputs have used all of it.
_LAST_SECONDS = 60.0


class Session:
    """One execution of a run's script."""

    def __init__(self, *, document: RunDocument, layout: Layout, environ: Mapping[str, str], begun: float) -> None:
        self._document = document
        self._layout = layout
        self._begun = begun
        self._warnings = Warnings()
        self._clients = Clients(environ=environ, layout=layout)
        self._spool = LogSpool(layout.log_spool)
        self._shipper = LogShipper(
            spool=self._spool,
            prepare_log=layout.prepare_log,
            gateway=self._clients.gateway,
            store=self._clients.store,
        )
        self._checkpoints = CheckpointSaver(
            folder=layout.checkpoint,
            restored=read_look(layout.restored),
            gateway=self._clients.gateway,
            store=self._clients.store,
            warnings=self._warnings,
        )
        self._metrics = MetricsTail(layout.metrics_file, warnings=self._warnings)
        self._reporter = Reporter(gateway=self._clients.reports, snapshot=self._snapshot)
        self._state = "Running"
        self._message = ""
        self._tee: Tee | None = None

    def start(self) -> None:
        """Begin to report, and to carry log parts away."""
        self._shipper.start()
        self._reporter.start()
        self._checkpoints.start()

    def follow(self, pipe: int) -> None:
        """Begin to read what comes out of `pipe`."""
        self._tee = Tee(pipe=pipe, out=_STDOUT, spool=self._spool, warnings=self._warnings)
        self._tee.start()

    def drain(self, minder: Minder) -> None:
        """Take in the rest of the output, and end what the script left running."""
        assert self._tee is not None
        if minder.drain(self._tee):
            self._warnings.add("processes that the script had left running were killed when it ended")

    def tail(self) -> str:
        """Return the last lines that the script has printed."""
        return self._tee.tail(MAX_LOG_TAIL_BYTES) if self._tee else ""

    def finish(self, outcome: Outcome, *, ended: float) -> int:
        """Save everything, say how it ended, and return the container's exit code.

        The manifest is written after all that it speaks of, and the termination message after the manifest.
        """
        self._metrics.poll(limit=None)
        record = self._metrics.record
        outcome = called_off(outcome, script=self._document["entryScript"], words=record.failure)
        self._state, self._message = "Finalizing", "saving outputs"
        # Should the pod be killed before the end, this much is known of it.
        self._terminate(outcome, unsaved="the pod was stopped before the outputs were saved")
        # First of all: the time until the pod is killed may not do for the rest.
        self._checkpoints.finish(keep=outcome.exit_code != 0)
        outputs: list[OutputFile] = []
        digest: str | None = None
        unsaved: str | None = None
        try:
            outputs = save_outputs(
                self._layout.outputs,
                gateway=self._clients.gateway,
                store=self._clients.store,
                warnings=self._warnings,
                on_saved=self._saved,
            )
            self._save_record(seconds=PATIENCE_SECONDS)
            digest = self._save_manifest(outcome, outputs, ended=ended)
        except OutputsError as error:
            unsaved = str(error)
            self._save_record(seconds=_LAST_SECONDS if isinstance(error.__cause__, Unavailable) else PATIENCE_SECONDS)
        except TransferError as error:
            unsaved = f"the manifest of the outputs could not be saved: {error}"
        if unsaved is not None:
            tell(unsaved)
        self._reporter.finish()
        self._terminate(outcome, unsaved=unsaved, outputs=outputs, manifest_sha256=digest)
        return outcome.exit_code if outcome.exit_code or unsaved is None else 1

    def _save_record(self, *, seconds: float) -> None:
        """Save log and history: a run whose outputs are safe does not fail for want of these."""
        self._message = "saving the log"
        trouble = self._shipper.finish(seconds=seconds)
        if trouble is not None:
            self._warnings.add(f"the end of the log could not be saved: {trouble}")
        path = self._layout.metrics_file
        try:
            upload = Upload(path=METRICS_HISTORY, size=path.stat().st_size, opener=lambda: open_regular(path))
            if trouble is None:
                put_file(upload, gateway=self._clients.gateway, store=self._clients.store)
        except (TransferError, OSError) as error:
            self._warnings.add(f"the history of the metrics could not be saved: {error}")

    def _save_manifest(self, outcome: Outcome, outputs: list[OutputFile], *, ended: float) -> str:
        run = self._document
        metrics, _ = self._metrics.state()
        ran = what_ran(self._clients.gateway, warnings=self._warnings)
        manifest = RunManifest(
            schema=RUN_MANIFEST_SCHEMA,
            run={name: run[name] for name in ("name", "namespace", "uid", "experiment")},
            sourceSha256=run["source"]["sha256"],
            exitCode=outcome.exit_code,
            startTime=_timestamp(self._begun),
            endTime=_timestamp(ended),
            metrics=metrics,
            outputs=outputs,
            warnings=self._warnings.listed(),
            environment=software(environment=self._layout.environment),
        )
        if "imageDigest" in ran:
            manifest["imageDigest"] = ran["imageDigest"]
        if "image" in ran:
            manifest["image"] = ran["image"]
        if "environmentHash" in ran:
            manifest["environmentHash"] = ran["environmentHash"]
        if run.get("inputRecords"):
            manifest["inputs"] = run["inputRecords"]
        record = self._metrics.record
        if record.tags:
            manifest["tags"] = record.tags
        if record.properties:
            manifest["properties"] = record.properties
        if record.models:
            manifest["models"] = record.models
        if "commit" in run["source"]:
            manifest["sourceCommit"] = run["source"]["commit"]
        content = canonical_json(manifest)
        digest = hashlib.sha256(content).hexdigest()
        upload = Upload.of_bytes(MANIFEST, content, sha256=digest)
        put_file(upload, gateway=self._clients.gateway, store=self._clients.store)
        return digest

    def _terminate(
        self,
        outcome: Outcome,
        *,
        unsaved: str | None,
        outputs: list[OutputFile] | None = None,
        manifest_sha256: str | None = None,
    ) -> None:
        reason, message = outcome.reason, outcome.message
        if unsaved is not None:
            # A script that failed is the cause; that its outputs are lost as well is an addition.
            reason = reason or NOT_SAVED
            message = f"{message}; {unsaved}" if message else unsaved
        metrics, _ = self._metrics.state()
        saved = outputs or []
        document = termination(
            container=CONTAINER,
            reason=reason,
            message=message,
            exit_code=outcome.exit_code,
            signal=outcome.signal,
            metrics=metrics,
            outputs={"files": len(saved), "bytes": sum(file["bytes"] for file in saved)},
            manifest_sha256=manifest_sha256,
            warnings=self._warnings.listed(),
            log_tail=self.tail(),
        )
        write_termination(self._layout.termination_log, document)

    def _snapshot(self) -> Report:
        self._metrics.poll()
        metrics, progress = self._metrics.state()
        if progress is None and self._tee is not None:
            progress = self._tee.progress
        report: Report = {"state": self._state, "metrics": metrics}
        if progress is not None:
            report["progress"] = progress
        if self._metrics.record.tags:
            report["tags"] = dict(self._metrics.record.tags)
        if self._message:
            report["message"] = self._message
        return report

    def _saved(self, saved: int, found: int) -> None:
        self._message = f"saved {saved} of {found} output files"


def _timestamp(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
