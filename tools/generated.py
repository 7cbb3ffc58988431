"""Pages that are made from the code: written, or only compared."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def write_pages(pages: Mapping[Path, str], *, arguments: Sequence[str], root: Path, description: str) -> int:
    """Write the pages that are not as they have to be, or with ``--check`` only name them.

    Parameters
    ----------
    pages
        The text of each page.
    arguments
        The command line.
    root
        The folder that the names of pages are told from.
    description
        What ``--help`` says.

    Returns
    -------
    int
        The exit code: 1 where ``--check`` found a stale page.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is stale")
    check = parser.parse_args(arguments).check
    stale = {path: text for path, text in pages.items() if not path.exists() or path.read_text() != text}
    for path, text in stale.items():
        print(f"{path.relative_to(root)} {'is stale' if check else 'written'}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return 1 if check and stale else 0
