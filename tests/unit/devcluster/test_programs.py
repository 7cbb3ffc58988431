from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest

from devcluster import fetching, golang, programs
from devcluster.errors import DevclusterError
from devcluster.layout import Cache
from devcluster.progress import Progress

PIN = {"go_mod": "m", "go_sum": "s", "flags": "f", "packages": {"a": "b"}, "toolchain": "go1.26.8 x86_64"}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"go_mod": "other"}, id="version"),
        pytest.param({"go_sum": "other"}, id="checksums"),
        pytest.param({"flags": "other"}, id="flags"),
        pytest.param({"packages": {"a": "c"}}, id="package"),
        pytest.param({"toolchain": "go1.27.0 x86_64"}, id="Go"),
        pytest.param({"toolchain": "go1.26.8 aarch64"}, id="processor"),
    ],
)
def test_whatever_decides_a_programs_bytes_decides_its_place(change: dict):
    assert programs.key(**PIN) == programs.key(**PIN)
    assert programs.key(**PIN) != programs.key(**{**PIN, **change})


def test_kubernetes_is_stamped_with_the_version_that_is_pinned():
    flags = programs.kubernetes_flags("module x\n\nrequire k8s.io/kubernetes v1.36.3\n")
    for part in ("gitVersion=v1.36.3", "gitMajor=1", "gitMinor=36", "gitTreeState=clean"):
        assert f"-X k8s.io/component-base/version.{part}" in flags


def test_a_pin_without_kubernetes_says_so():
    with pytest.raises(DevclusterError, match="does not require"):
        programs.kubernetes_flags("module x\n")


@pytest.mark.parametrize("module", programs.MODULES, ids=lambda module: module.name)
def test_every_module_is_pinned_with_checksums_and_imports_what_is_built(module: programs.Module):
    folder = programs.PINS / module.name
    assert (folder / "go.sum").stat().st_size > 0
    tools = (folder / "tools.go").read_text()
    assert all(f'"{package}"' in tools for package in module.packages.values())


def test_an_unknown_program_is_named_with_those_that_there_are(tmp_path: Path):
    with pytest.raises(DevclusterError, match=r"no such program: minikube; there are .*kubectl"):
        programs.ensure(["minikube"], cache=Cache(root=tmp_path))


def test_too_little_disk_is_told_before_anything_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=3 * 10**9))
    monkeypatch.setattr(golang, "find", lambda **_: golang.Go(program="go", version="go1.26.8"))
    with pytest.raises(DevclusterError, match=r"needs 14 GB .* and there are 3 GB; free some, or set XDG_CACHE_HOME"):
        programs.ensure(["helm"], cache=Cache(root=tmp_path))


def test_a_program_in_the_cache_needs_no_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    go = golang.Go(program="/no/such/go", version="go1.26.8")
    monkeypatch.setattr(golang, "find", lambda **_: go)
    cache = Cache(root=tmp_path)
    module = next(module for module in programs.MODULES if module.name == "helm")
    folder = programs.folder(module, cache=cache, go=go)
    folder.mkdir(parents=True)
    (folder / "helm").touch()
    assert programs.ensure(["helm"], cache=cache) == {"helm": folder / "helm"}


def test_a_failed_build_shows_the_compilers_words_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    compiler = tmp_path / "go"
    compiler.write_text("#!/bin/sh\n[ $1 = list ] && exit\necho 'undefined: x' >&2\nexit 1\n")
    compiler.chmod(0o755)
    go = golang.Go(program=str(compiler), version="go1.26.8")
    monkeypatch.setattr(golang, "find", lambda **_: go)
    monkeypatch.setattr(programs, "NEEDED_BYTES", 0)
    cache = Cache(root=tmp_path / "cache")
    with pytest.raises(DevclusterError, match=r"(?s)helm could not be built.*undefined: x"):
        programs.ensure(["helm"], cache=cache)
    assert [path for path in cache.programs.rglob("*") if path.is_file()] == []


def test_modules_that_a_proxy_was_too_busy_to_give_are_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = tmp_path / "asked"
    compiler = tmp_path / "go"
    compiler.write_text(
        f"""#!/bin/sh
case "$1" in
list) echo x >> {asked}; [ $(wc -l < {asked}) = 3 ] || {{ echo '503 Service Unavailable' >&2; exit 1; }} ;;
build) while [ "$1" != -o ]; do shift; done; touch "$2" ;;
esac
"""
    )
    compiler.chmod(0o755)
    monkeypatch.setattr(golang, "find", lambda **_: golang.Go(program=str(compiler), version="go1.26.8"))
    monkeypatch.setattr(programs, "NEEDED_BYTES", 0)
    monkeypatch.setattr(fetching, "PAUSES", (0.0, 0.0))
    said = io.StringIO()
    progress = Progress(stream=said)
    assert programs.ensure(["helm"], cache=Cache(root=tmp_path / "cache"), progress=progress)["helm"].exists()
    assert said.getvalue().count("503 Service Unavailable") == 2
    asked.write_text("more than three\n" * 3)
    with pytest.raises(DevclusterError, match=r"(?s)modules of helm could not be downloaded.*503"):
        programs.ensure(["helm"], cache=Cache(root=tmp_path / "another"), progress=progress)


def test_a_programs_data_is_beside_it_before_the_program_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = tmp_path / "source"
    (source / "kwok" / "charts" / "crds").mkdir(parents=True)
    (source / "kwok" / "apis" / "crds").mkdir(parents=True)
    (source / "kwok" / "charts" / "crds" / "pools.yaml").write_text("kind: x\n")
    compiler = tmp_path / "go"
    compiler.write_text(
        f"""#!/bin/sh
case "$1" in
mod) echo '{{"Dir": "{source}"}}' ;;
build) while [ "$1" != -o ]; do shift; done; touch "$2" ;;
esac
"""
    )
    compiler.chmod(0o755)
    monkeypatch.setattr(golang, "find", lambda **_: golang.Go(program=str(compiler), version="go1.26.8"))
    monkeypatch.setattr(programs, "NEEDED_BYTES", 0)
    path = programs.ensure(["karpenter"], cache=Cache(root=tmp_path / "cache"))["karpenter"]
    charts, apis = programs.data_folders("karpenter", path)
    assert (charts / "pools.yaml").read_text() == "kind: x\n"
    assert apis.is_dir()


def test_gos_read_only_folders_are_removed(tmp_path: Path):
    folder = tmp_path / "go" / "modules" / "a"
    folder.mkdir(parents=True)
    (folder / "b.go").touch()
    folder.chmod(0o555)
    programs.remove_read_only_tree(tmp_path / "go")
    assert not (tmp_path / "go").exists()


@pytest.mark.parametrize(
    ("text", "version"),
    [
        pytest.param("go1.26.8", (1, 26, 8), id="release"),
        pytest.param("go1.27", (1, 27, 0), id="no patch"),
        pytest.param("devel go1.28-abcdef", (1, 28, 0), id="development"),
        pytest.param("gccgo", None, id="something else"),
    ],
)
def test_gos_own_versions_are_read(text: str, version: tuple | None):
    assert golang.parse_version(text) == version


def test_the_go_line_of_a_pin_is_read():
    assert golang.required_version("module x\n\ngo 1.26.0\n") == (1, 26, 0)
    with pytest.raises(DevclusterError, match=r"no line `go 1.x.y`"):
        golang.required_version("module x\n")


def test_a_toolchain_that_is_too_old_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, version in (("old", "go1.20.0"), ("cached", "go1.26.6")):
        program = tmp_path / name / "go" / "bin" / "go"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\necho {version}\n")
        program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda _: str(tmp_path / "old" / "go" / "bin" / "go"))
    monkeypatch.setattr(golang, "_installed", lambda _: tmp_path / "cached")
    found = golang.find(cache=Cache(root=tmp_path), needed=(1, 26, 0), progress=None)
    assert found.version == "go1.26.6"
    assert golang.probe(str(tmp_path / "none")) is None


def test_modules_do_not_share_programs():
    names = [program for module in programs.MODULES for program in module.packages]
    assert len(names) == len(set(names))
