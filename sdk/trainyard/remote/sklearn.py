"""The estimator of scikit-learn: the trainer image's own release of it, or the one that is asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from trainyard.remote.estimator import Estimator

PACKAGE: Final = "scikit-learn"
_NAMED = re.compile(rf"{PACKAGE}(?![\w.-])", re.IGNORECASE)


class SKLearn(Estimator):
    """A run in the words of Azure ML's estimator of scikit-learn.

    Parameters
    ----------
    source_directory
        The folder that is sent.
    framework_version
        A release of scikit-learn such as ``1.9.1``; that of the image where none is said.
    conda_packages, pip_packages
        As for `Estimator`, whose other arguments can be given too.
    """

    def __init__(
        self,
        source_directory: str | Path,
        *,
        framework_version: str | None = None,
        conda_packages: Sequence[str] | None = None,
        pip_packages: Sequence[str] | None = None,
        **others: Any,
    ) -> None:
        conda, pip = list(conda_packages or ()), list(pip_packages or ())
        if framework_version is not None:
            pip.append(f"{PACKAGE}=={framework_version}")
        elif conda and not any(map(_NAMED.match, [*conda, *pip])):
            # An environment of conda's packages does not see what the image has.
            conda.append(PACKAGE)
        super().__init__(source_directory, conda_packages=conda, pip_packages=pip, **others)
