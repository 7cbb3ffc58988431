"""Kubernetes and its friends, built from released Go modules into a cache that all checkouts share.

Each folder of ``devcluster/programs`` pins one module with everything below it. A build is named by the hash of that
pin, the flags and Go's version; a binary appears in the cache by a rename, so what is there is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import stat
import subprocess
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from devcluster import golang
from devcluster.errors import DevclusterError
from devcluster.fetching import patiently
from devcluster.layout import Cache
from devcluster.locks import locked
from devcluster.progress import Progress
from devcluster.waiting import last_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PINS = Path(__file__).resolve().parent / "programs"
STRIP = "-s -w"
# Building Kubernetes fills about 13 GB of Go's caches.
NEEDED_BYTES = 14 * 10**9
DATA = "data"
STAMP = "k8s.io/component-base/version"


@dataclass(frozen=True)
class DataFiles:
    """Folders of a module's source that its programs need beside them at run time."""

    module: str
    folders: tuple[str, ...]


@dataclass(frozen=True)
class Module:
    """One pin: its folder, the programs that are built from it and the files that go with them."""

    name: str
    packages: dict[str, str]
    linker_flags: Callable[[str], str] = field(default=lambda _go_mod: STRIP)
    data: DataFiles | None = None
    # Whether every embedded cluster runs it; the others are built when somebody asks for them.
    always: bool = True

    def flags(self, *, pins: Path = PINS) -> str:
        """Linker flags, which may depend on the pinned version."""
        return self.linker_flags((pins / self.name / "go.mod").read_text(encoding="utf-8"))


def kubernetes_flags(go_mod: str) -> str:
    """Stamp the version that is pinned, without which Kubernetes calls itself v0.0.0."""
    match = re.search(r"k8s\.io/kubernetes v((\d+)\.(\d+)\.\S+)", go_mod)
    if not match:
        raise DevclusterError("devcluster/programs/kubernetes/go.mod does not require k8s.io/kubernetes")
    version, major, minor = match.groups()
    values = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return " ".join([STRIP, *(f"-X {STAMP}.{name}={value}" for name, value in values.items())])


KUBERNETES = ("kube-apiserver", "kubectl", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
MODULES = (
    Module(
        name="kubernetes",
        packages={program: f"k8s.io/kubernetes/cmd/{program}" for program in KUBERNETES},
        linker_flags=kubernetes_flags,
    ),
    Module(name="etcd", packages={"etcd": "go.etcd.io/etcd/server/v3"}),
    Module(name="versitygw", packages={"versitygw": "github.com/versity/versitygw/cmd/versitygw"}),
    Module(name="coredns", packages={"coredns": "github.com/coredns/coredns"}),
    Module(name="helm", packages={"helm": "helm.sh/helm/v4/cmd/helm"}),
    Module(name="kubeconform", packages={"kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform"}),
    Module(
        name="karpenter",
        packages={"karpenter": "sigs.k8s.io/karpenter/kwok"},
        data=DataFiles(module="sigs.k8s.io/karpenter", folders=("kwok/charts/crds", "kwok/apis/crds")),
    ),
    Module(
        name="kueue",
        packages={"kueue": "sigs.k8s.io/kueue/cmd/kueue"},
        data=DataFiles(module="sigs.k8s.io/kueue", folders=("charts/kueue",)),
        always=False,
    ),
)
ALL = tuple(program for module in MODULES for program in module.packages)
EMBEDDED = tuple(program for module in MODULES if module.always for program in module.packages)


def key(*, go_mod: str, go_sum: str, flags: str, packages: dict[str, str], toolchain: str) -> str:
    """Name a build by everything that decides its bytes."""
    text = json.dumps([go_mod, go_sum, flags, packages, toolchain], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def ensure(
    names: Iterable[str] = EMBEDDED, *, cache: Cache | None = None, progress: Progress | None = None
) -> dict[str, Path]:
    """Give the paths of programs, building those that the cache lacks.

    Parameters
    ----------
    names
        Names of programs; by default those that an embedded cluster runs.
    cache
        The cache; the user's own by default.
    progress
        Where to tell what is being built.

    Returns
    -------
    dict
        The path of each program by its name.
    """
    cache = cache or Cache.default()
    progress = progress or Progress()
    wanted = set(names)
    unknown = wanted.difference(ALL)
    if unknown:
        raise DevclusterError(f"no such program: {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    needed = max(golang.required_version(_read(module, "go.mod")) for module in MODULES)
    go = golang.find(cache=cache, needed=needed, progress=progress)
    modules = [module for module in MODULES if wanted.intersection(module.packages)]
    paths = {
        program: folder(module, cache=cache, go=go) / program
        for module in modules
        for program in module.packages
        if program in wanted
    }
    if not all(path.exists() for path in paths.values()):
        with locked(
            cache.lock("programs"), waiting=lambda: progress.say("another checkout is building programs; waiting ...")
        ):
            _build_missing(modules, paths, cache=cache, go=go, progress=progress)
    return paths


def folder(module: Module, *, cache: Cache, go: golang.Go) -> Path:
    """Where the programs of a module are for this pin, these flags and this Go."""
    name = key(
        go_mod=_read(module, "go.mod"),
        go_sum=_read(module, "go.sum"),
        flags=module.flags(),
        packages={**module.packages, **dict.fromkeys(module.data.folders, module.data.module)}
        if module.data
        else module.packages,
        toolchain=f"{go.version} {platform.machine()}",
    )
    return cache.programs / f"{module.name}-{name}"


def _read(module: Module, name: str) -> str:
    return (PINS / module.name / name).read_text(encoding="utf-8")


def _build_missing(
    modules: list[Module], paths: dict[str, Path], *, cache: Cache, go: golang.Go, progress: Progress
) -> None:
    missing = [
        (module, program)
        for module in modules
        for program in module.packages
        if program in paths and not paths[program].exists()
    ]
    if not missing:
        return
    _check_space(cache)
    names = ", ".join(program for _, program in missing)
    progress.say(f"building {names} with {go.version}: once on this machine, about 15 minutes on two cores for all ...")
    for module, program in missing:
        start = time.monotonic()
        # Only what the network can spoil is tried again; the compiler then needs none.
        patiently(partial(_fetch, module, program, paths[program], cache=cache, go=go), progress=progress)
        _build(module, program, paths[program], cache=cache, go=go)
        progress.say(f"{program} built in {time.monotonic() - start:.0f} s")
    remove_read_only_tree(cache.go)


def _check_space(cache: Cache) -> None:
    cache.root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache.root).free
    if free < NEEDED_BYTES:
        raise DevclusterError(
            f"building the programs needs {NEEDED_BYTES // 10**9} GB of free disk below {cache.root} and there are "
            f"{free // 10**9} GB; free some, or set XDG_CACHE_HOME to a larger disk"
        )


def _fetch(module: Module, program: str, path: Path, *, cache: Cache, go: golang.Go) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Listing what a program is made of brings it all.
    result = _run_go(module, "list", "-deps", module.packages[program], cache=cache, go=go)
    if result.returncode:
        raise DevclusterError(f"the modules of {program} could not be downloaded:\n{last_lines(result.stderr)}")
    # A program that is there has its data: they come first.
    if module.data:
        _copy_data(module, module.data, target=path.parent / DATA, cache=cache, go=go)


def _build(module: Module, program: str, path: Path, *, cache: Cache, go: golang.Go) -> None:
    temporary = path.with_name(f".{program}.new")
    options = ("-trimpath", "-ldflags", module.flags(), "-o", str(temporary))
    result = _run_go(module, "build", *options, module.packages[program], cache=cache, go=go)
    if result.returncode:
        raise DevclusterError(f"{program} could not be built:\n{last_lines(result.stderr)}")
    temporary.replace(path)


def _run_go(module: Module, *arguments: str, cache: Cache, go: golang.Go) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [go.program, *arguments],
        cwd=PINS / module.name,
        env=_environment(cache),
        capture_output=True,
        text=True,
        check=False,
    )


def data_folders(module_name: str, program: Path) -> list[Path]:
    """Give the folders of data that lie beside a built program of a module."""
    module = next(module for module in MODULES if module.name == module_name)
    return [program.parent / DATA / folder for folder in (module.data.folders if module.data else ())]


def _copy_data(module: Module, data: DataFiles, *, target: Path, cache: Cache, go: golang.Go) -> None:
    result = _run_go(module, "mod", "download", "-json", data.module, cache=cache, go=go)
    if result.returncode:
        raise DevclusterError(f"{data.module} could not be downloaded:\n{last_lines(result.stdout + result.stderr)}")
    source = Path(json.loads(result.stdout)["Dir"])
    shutil.rmtree(target, ignore_errors=True)
    for folder in data.folders:
        shutil.copytree(source / folder, target / folder)


def _environment(cache: Cache) -> dict[str, str]:
    own = {
        "CGO_ENABLED": "0",
        "GOCACHE": str(cache.go / "build"),
        "GOMODCACHE": str(cache.go / "modules"),
        "GOFLAGS": "-buildvcs=false -mod=readonly -modcacherw",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    inherited = {name: value for name, value in os.environ.items() if name not in {"GOOS", "GOARCH", "GOBIN"}}
    return {**inherited, **own}


def remove_read_only_tree(path: Path) -> None:
    """Remove a tree whose folders may be read-only, as Go's are."""
    if not path.exists():
        return
    for parent, _, _ in os.walk(path):
        Path(parent).chmod(stat.S_IRWXU)
    shutil.rmtree(path)
