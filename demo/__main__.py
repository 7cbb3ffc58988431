"""`python -m demo`: the MNIST tutorial on the cluster of the kubeconfig, from upload to registered model."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any, Final

from demo import show
from demo.cluster import REPOSITORY, Cluster
from demo.console import Console
from demo.errors import DemoError
from demo.follow import follow
from demo.pool import PoolFollower
from demo.submit import free_name, read_training_job, submit
from trainyard import Experiment, SubmittedRun, TrainyardError
from trainyard.remote.following import pod_log
from trainyard.remote.objects import COMPUTE_CLUSTERS, REGISTERED_MODELS, TRAINING_JOBS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

EXAMPLE: Final = REPOSITORY / "examples" / "mnist"
# The same, on nodes that Karpenter makes; needs the node class that the embedded cluster has.
ON_A_POOL: Final = REPOSITORY / "examples" / "mnist-karpenter"
NODE_CLASS: Final = ("karpenter.kwok.sh", "v1alpha1", "kwoknodeclasses", "default")
INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code: 0 only if the run completed and its model is Ready."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--namespace", help="where to run; the namespace of the kubeconfig's context by default")
    parser.add_argument("--operator-namespace", default="trainyard-system", help="where Trainyard is installed")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        with Cluster.connect(namespace=options.namespace, operator_namespace=options.operator_namespace) as cluster:
            return run(cluster, folder=EXAMPLE, console=console, pooled=cluster.has_object(*NODE_CLASS))
    except (DemoError, TrainyardError) as error:
        sys.stderr.write(f"demo: {error}\n")
    except KeyboardInterrupt:
        sys.stderr.write("demo: interrupted\n")
        return INTERRUPTED
    return 1


def run(cluster: Cluster, *, folder: Path, console: Console, pooled: bool) -> int:
    """Upload, submit, follow and show one run; `pooled` where its nodes are to be made for it."""
    example = read_training_job(folder)
    files = sorted((folder / "data").glob("*.gz"))
    where = example["spec"]["inputs"][0]["datastore"]["path"]
    cluster.workspace.get_default_datastore().upload_files(files, target_path=where, overwrite=True)
    upload_seconds = console.elapsed

    objects, api = cluster.workspace.objects, cluster.workspace.objects.api
    old = example["metadata"]["name"]
    name = free_name(old, taken=objects.names(TRAINING_JOBS))
    for line in submit(cluster, folder=ON_A_POOL if pooled else folder, old=old, new=name).splitlines():
        console.say(line)
    pool = PoolFollower(objects.watch(COMPUTE_CLUSTERS, example["spec"]["computeClusterRef"]["name"]), console=console)
    pool.start()
    try:
        job = follow(
            objects.watch(TRAINING_JOBS, name),
            console=console,
            open_log=lambda pod: pod_log(api, namespace=cluster.workspace.name, pod=pod),
        )
    except KeyboardInterrupt:
        console.write(f"\nThe run goes on. Look at it with: kubectl get trainingjob {name} --watch")
        return INTERRUPTED
    code = _show(cluster, job, console=console)
    console.write(show.timings(job["status"], upload=upload_seconds, total=console.elapsed))
    return code or _shrink(pool, console=console)


def _shrink(pool: PoolFollower, *, console: Console) -> int:
    """Wait until a pool that scales is empty again: that is when it costs nothing."""
    if not pool.scales():
        return 0
    seconds = pool.await_empty()
    if seconds is None:
        console.write("Failed: the pool still has nodes; `kubectl describe computecluster` says why")
        return 1
    console.write(f"the pool was empty again {seconds:.0f} s after that")
    return 0


def _show(cluster: Cluster, job: Mapping[str, Any], *, console: Console) -> int:
    status = job["status"]
    if status["phase"] != "Completed":
        console.write("\n".join(show.failure_lines(status)))
        return 1
    finished = SubmittedRun(Experiment(cluster.workspace, job["spec"]["experiment"]), job["metadata"]["name"])
    console.write("")
    console.write(str(finished.get_metrics()))
    console.write("\n".join(finished.get_file_names()))
    console.write("\n".join(show.model_lines(status.get("models") or ())))
    console.write("")
    missing = show.missing_models(job["spec"], status, cluster.workspace.objects.list(REGISTERED_MODELS))
    for sentence in missing:
        console.write(f"Failed: {sentence}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
