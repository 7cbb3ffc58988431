"""The command line: ``python -m devcluster up|down|deploy|control-plane|programs|status``."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from devcluster import chart, programs
from devcluster.cluster import Cluster
from devcluster.controlplane import ControlPlane
from devcluster.errors import DevclusterError
from devcluster.layout import Cache, Yard
from devcluster.progress import Progress

NOT_RUNNING = 3


def main(argv: list[str] | None = None) -> int:
    """Run a command; its exit status is the process's."""
    options = _parser().parse_args(argv)
    progress = Progress()
    try:
        return int(options.run(options, progress) or 0)
    except DevclusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="devcluster", description="Real Kubernetes on this machine, with no Docker.")
    commands = parser.add_subparsers(required=True, metavar="command")
    up = commands.add_parser(
        "up", help="start the embedded cluster with the chart of this checkout, or bring it up to date"
    )
    up.set_defaults(run=_up)
    down = commands.add_parser("down", help="take the embedded cluster down and remove all that it had")
    down.set_defaults(run=_down)
    status = commands.add_parser("status", help="tell what runs in the embedded cluster")
    status.set_defaults(run=_status)
    deploy = commands.add_parser("deploy", help="install the chart into the cluster that KUBECONFIG names")
    help_image = "an image of the chart, such as --image trainer.image=registry.example/trainer:1.0"
    deploy.add_argument("--image", action="append", default=[], metavar="VALUE=REPOSITORY:TAG", help=help_image)
    deploy.add_argument("helm", nargs="*", metavar="-- HELM-ARGUMENT", help="more arguments for helm upgrade")
    deploy.set_defaults(run=_deploy)
    plane = commands.add_parser("control-plane", help="run etcd and an API server without nodes until interrupted")
    plane.add_argument("--home", type=Path, help="its folder (default: .yard/test-control-plane)")
    plane.add_argument("--controller-manager", action="store_true", help="run Kubernetes' controllers too")
    plane.set_defaults(run=_control_plane)
    build = commands.add_parser("programs", help="build programs into the cache and print their paths")
    build.add_argument(
        "names",
        nargs="*",
        metavar="name",
        help=f"any of {', '.join(programs.ALL)}; default: {', '.join(programs.EMBEDDED)}",
    )
    build.set_defaults(run=_programs)
    return parser


def _cluster(progress: Progress) -> Cluster:
    return Cluster(yard=Yard.default(), cache=Cache.default(), progress=progress)


def _up(_options: argparse.Namespace, progress: Progress) -> None:
    _cluster(progress).up()


def _down(_options: argparse.Namespace, progress: Progress) -> None:
    _cluster(progress).down()


def _status(_options: argparse.Namespace, progress: Progress) -> int:
    status = _cluster(progress).status()
    if status is None:
        print("the embedded cluster is not running; `make up` starts it")
        return NOT_RUNNING
    print(f"addresses  {status.addresses.block}, API server https://{status.addresses.machine}:6443")
    print(f"kubeconfig {Yard.default().kubeconfig}")
    for name, program in status.programs.items():
        state = "running" if program.status is None else f"ended with status {program.status}"
        node = f" ({status.pool_nodes[name]})" if name in status.pool_nodes else ""
        print(f"{name:<24} {state}{node}")
    return 0 if all(program.status is None for program in status.programs.values()) else 1


def _deploy(options: argparse.Namespace, progress: Progress) -> int:
    values: dict[str, str] = {}
    for given in options.image:
        prefix, _, reference = given.partition("=")
        values.update(chart.image_values(prefix, reference))
    helm = programs.ensure(["helm"], progress=progress)["helm"]
    return chart.deploy(helm=helm, values=values, arguments=tuple(options.helm))


def _control_plane(options: argparse.Namespace, progress: Progress) -> None:
    home = options.home or Yard.default().root / "test-control-plane"
    with ControlPlane(home=home.resolve(), controller_manager=options.controller_manager, progress=progress) as plane:
        progress.say(f"up: export KUBECONFIG={plane.kubeconfig} (Ctrl-C stops it)")
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


def _programs(options: argparse.Namespace, progress: Progress) -> None:
    for name, path in programs.ensure(options.names or programs.EMBEDDED, progress=progress).items():
        print(f"{name}\t{path}")


if __name__ == "__main__":
    sys.exit(main())
