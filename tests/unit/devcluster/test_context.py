from __future__ import annotations

import os
from pathlib import Path

import pytest

from devcluster import context
from devcluster.errors import DevclusterError


@pytest.mark.parametrize(
    ("dockerfile", "sources"),
    [
        pytest.param("FROM x\nCOPY a b/\n", ["a"], id="one"),
        pytest.param("COPY a b c/\nADD d e\n", ["a", "b", "d"], id="several, and ADD"),
        pytest.param("COPY --chown=1:1 --chmod=755 a b\n", ["a"], id="options"),
        pytest.param("COPY --from=build /x /y\n", [], id="from another stage"),
        pytest.param('COPY ["a b", "c/"]\n', ["a b"], id="JSON form"),
        pytest.param("COPY a \\\n  b \\\n  c/\n", ["a", "b"], id="continued lines"),
        pytest.param("copy a b\n# COPY no no\nRUN cp c d\n", ["a"], id="case, comments and other words"),
    ],
)
def test_a_dockerfile_says_what_it_copies(dockerfile: str, sources: list[str]):
    assert context.copied(dockerfile) == sources


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a.txt", "pkg/m.py", "pkg/__pycache__/m.pyc", "pkg/sub/n.py", "other/x", ".venv/lib/y.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        pytest.param(["pkg"], ["pkg/m.py", "pkg/sub/n.py"], id="a folder, without what Python leaves there"),
        pytest.param(["a.txt", "./pkg/sub/"], ["a.txt", "pkg/sub/n.py"], id="a file and a folder with slashes"),
        pytest.param(["*.txt"], ["a.txt"], id="a pattern"),
        pytest.param(["."], ["a.txt", "other/x", "pkg/m.py", "pkg/sub/n.py"], id="everything but environments"),
    ],
)
def test_the_context_has_exactly_the_files_that_are_copied(tree: Path, sources: list[str], found: list[str]):
    assert [str(path) for path in context.files(root=tree, sources=sources)] == found


def test_a_source_that_is_not_there_is_named(tree: Path):
    with pytest.raises(DevclusterError, match=r"copies gone\.txt, which is not in"):
        context.files(root=tree, sources=["gone.txt"])


def touch(tree: Path) -> None:
    os.utime(tree / "a.txt", (1, 1))


def write_elsewhere(tree: Path) -> None:
    (tree / "other" / "x").write_text("changed")


def write(tree: Path) -> None:
    (tree / "a.txt").write_text("changed")


def make_executable(tree: Path) -> None:
    (tree / "a.txt").chmod(0o755)


def rename(tree: Path) -> None:
    (tree / "pkg" / "m.py").rename(tree / "pkg" / "o.py")


@pytest.mark.parametrize(
    ("change", "rebuilt"),
    [
        pytest.param(touch, False, id="a file's time"),
        pytest.param(write_elsewhere, False, id="a file that is not copied"),
        pytest.param(write, True, id="a file's content"),
        pytest.param(make_executable, True, id="an executable bit"),
        pytest.param(rename, True, id="a file's name"),
    ],
)
def test_an_image_is_rebuilt_only_for_what_is_in_it(tree: Path, change, rebuilt):
    def digest() -> str:
        return context.digest(root=tree, paths=context.files(root=tree, sources=["a.txt", "pkg"]))

    before = digest()
    change(tree)
    assert (digest() != before) is rebuilt


def test_an_image_is_rebuilt_for_another_base(tree: Path):
    paths = [Path("a.txt")]
    assert context.digest(root=tree, paths=paths, extra=("1",)) != context.digest(root=tree, paths=paths, extra=("2",))


def test_a_staged_context_has_one_time_and_plain_permissions(tree: Path, tmp_path_factory: pytest.TempPathFactory):
    (tree / "pkg" / "m.py").chmod(0o600)
    make_executable(tree)
    target = tmp_path_factory.mktemp("context")
    context.stage(root=tree, paths=context.files(root=tree, sources=["a.txt", "pkg"]), target=target)
    modes = {str(path.relative_to(target)): path.stat().st_mode & 0o777 for path in target.rglob("*") if path.is_file()}
    assert modes == {"a.txt": 0o755, "pkg/m.py": 0o644, "pkg/sub/n.py": 0o644}
    assert {path.stat().st_mtime for path in target.rglob("*")} == {context.TIMESTAMP}
