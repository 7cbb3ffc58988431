"""Code for Azure ML as code for Trainyard: its import lines are replaced, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "azureml"
PROGRAMS = sorted(FOLDER.glob("*.py"))
SCRIPTS = sorted((FOLDER / "scripts").glob("*.py"))
# As examples/azureml/README.md says.
SUBSTITUTIONS = {r"^import azureml\.core$": "import trainyard as azureml", r"^from azureml": "from trainyard"}


def substituted(text: str) -> str:
    """Return a program with its import lines replaced."""
    for pattern, replacement in SUBSTITUTIONS.items():
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text


def bring(folder: Path) -> Path:
    """Write the programs and scripts, substituted, into a folder, and return it."""
    for path in [*PROGRAMS, *SCRIPTS]:
        target = folder / path.relative_to(FOLDER)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(substituted(path.read_text()))
    return folder
