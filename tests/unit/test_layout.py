"""The repository's own rules that no linter knows."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path


def test_the_folder_operator_holds_no_module_so_that_it_is_no_package(repository: Path):
    # A regular package `operator`, found from the repository's root, would shadow the standard library's.
    assert sorted(path.name for path in (repository / "operator").glob("*.py*")) == []


def test_the_standard_librarys_operator_is_imported_from_the_root(repository: Path):
    script = "import sys; sys.modules.pop('operator', None); sys.path.insert(0, ''); import operator; print(operator.__file__)"
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert Path(answer).is_relative_to(sysconfig.get_path("stdlib"))
