"""`spec.source` and `spec.entryScript` of a TrainingJob: where the code comes from, and which file of it is run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from trainyard.contract import OUTPUTS
from trainyard_operator.api.fields import (
    MAX_OBJECT_NAME,
    SHA256,
    SpecError,
    read_object,
    read_path,
    read_reference,
    read_text,
)

DEFAULT_ENTRY_SCRIPT: Final = "train.py"
MAX_FILE_NAME: Final = 253
MAX_INLINE_FILES: Final = 32
MAX_INLINE_BYTES: Final = 512 * 1024
MAX_SOURCE_PATH: Final = 1024
GIT_URL: Final = re.compile(r"^[A-Za-z0-9:/._~%+@-]+$")
MAX_GIT_URL: Final = 1024
GIT_REVISION: Final = re.compile(r"^[A-Za-z0-9_@][A-Za-z0-9_./+@#=-]*$")
MAX_GIT_REVISION: Final = 255
DEFAULT_GIT_REVISION: Final = "HEAD"
KINDS: Final = ("inline", "configMapRef", "archive", "git")

_PROTOCOL = "https://"


@dataclass(frozen=True, kw_only=True)
class ArchiveSpec:
    """An archive in the namespace's datastore, or among its snapshots."""

    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class GitSpec:
    """A folder of one revision of a git repository."""

    url: str
    revision: str
    path: str
    secret: str | None = None


@dataclass(frozen=True, kw_only=True)
class SourceSpec:
    """Where the code comes from: exactly one of `inline_files` (sizes by path), `config_map`, `archive` and `git`."""

    inline_files: Mapping[str, int] | None = None
    config_map: str | None = None
    archive: ArchiveSpec | None = None
    git: GitSpec | None = None

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return what `spec.source` means.

        Raises
        ------
        SpecError
            If it cannot work.
        """
        source = read_object(value, "spec.source")
        given = [kind for kind in KINDS if source.get(kind) is not None]
        if len(given) != 1:
            fix = "remove all but one" if given else "add one"
            raise SpecError("spec.source", "must have exactly one of inline, configMapRef, archive and git", fix)
        if given == ["inline"]:
            return cls(inline_files=_read_inline(source["inline"]))
        if given == ["archive"]:
            return cls(archive=_read_archive(source["archive"]))
        if given == ["git"]:
            return cls(git=_read_git(source["git"]))
        return cls(config_map=read_reference(source["configMapRef"], "spec.source.configMapRef", MAX_OBJECT_NAME))


def read_entry_script(value: object, source: SourceSpec | None) -> str:
    """Return `spec.entryScript`, a file of `source` as far as that can be seen in the spec.

    Without a source the run repeats another one, whose script it takes.

    Raises
    ------
    SpecError
        If it cannot work.
    """
    field = "spec.entryScript"
    script = DEFAULT_ENTRY_SCRIPT if value is None else read_path(value, field, at_most=MAX_FILE_NAME)
    if script.endswith("/") or script.startswith("-"):
        raise SpecError(field, f"is {script!r}", "it must name a file, and not begin with '-'")
    if source is None:
        return script
    if source.inline_files is not None and script not in source.inline_files:
        names = ", ".join(sorted(source.inline_files))
        raise SpecError(field, f"is {script!r}, which is not in spec.source.inline", f"the files there are {names}")
    if source.config_map is not None and "/" in script:
        raise SpecError(field, f"is {script!r}", "keys of a ConfigMap have no '/'; give the key alone")
    return script


def _read_inline(value: object) -> Mapping[str, int]:
    field = "spec.source.inline"
    sizes = {}
    for path, content in read_object(value, field, at_most=MAX_INLINE_FILES).items():
        if read_path(path, f"{field}: a file's name", at_most=MAX_FILE_NAME).endswith("/"):
            raise SpecError(field, f"names a folder, {path!r}", "only files have content; remove the '/' at its end")
        if path == OUTPUTS or path.startswith(f"{OUTPUTS}/"):
            raise SpecError(field, f"has the file {path!r}", f"{OUTPUTS} is for what the script saves; rename it")
        sizes[path] = _read_size(content, f"{field}[{path!r}]")
    if not sizes:
        raise SpecError(field, "is empty", "add the entry script")
    if sum(sizes.values()) > MAX_INLINE_BYTES:
        raise SpecError(field, "has more than 512 KiB of files", "put the code into a ConfigMap")
    _check_no_file_is_a_folder(sizes, field)
    return sizes


def _read_size(content: object, field: str) -> int:
    if isinstance(content, str):
        return len(content.encode(errors="surrogatepass"))
    if isinstance(content, int) and not isinstance(content, bool) and content >= 0:
        return content
    raise SpecError(field, "must be the text of a file", "write the file's text after a '|'")


def _check_no_file_is_a_folder(paths: Iterable[str], field: str) -> None:
    files = set(paths)
    for path in sorted(files):
        folder = path.rpartition("/")[0]
        while folder:
            if folder in files:
                raise SpecError(field, f"has both {folder!r} and {path!r}", "a file cannot be a folder too; rename one")
            folder = folder.rpartition("/")[0]


def _read_archive(value: object) -> ArchiveSpec:
    field = "spec.source.archive"
    archive = read_object(value, field)
    path = read_path(archive.get("path"), f"{field}.path", at_most=MAX_SOURCE_PATH)
    if path.endswith("/"):
        raise SpecError(
            f"{field}.path", f"is {path!r}, a folder", "name the archive itself, without the '/' at its end"
        )
    return ArchiveSpec(
        path=path, sha256=read_text(archive.get("sha256"), f"{field}.sha256", at_most=64, pattern=SHA256)
    )


def _read_git(value: object) -> GitSpec:
    field = "spec.source.git"
    git = read_object(value, field)
    revision, path = git.get("revision"), git.get("path")
    return GitSpec(
        url=_read_url(git.get("url"), f"{field}.url"),
        revision=read_text(
            DEFAULT_GIT_REVISION if revision is None else revision,
            f"{field}.revision",
            at_most=MAX_GIT_REVISION,
            pattern=GIT_REVISION,
        ),
        path=read_path("" if path is None else path, f"{field}.path", at_most=MAX_SOURCE_PATH, empty=True),
        secret=read_reference(git.get("secretRef"), f"{field}.secretRef", MAX_OBJECT_NAME),
    )


def _read_url(value: object, field: str) -> str:
    url = read_text(value, field, at_most=MAX_GIT_URL, pattern=GIT_URL)
    if not url.startswith(_PROTOCOL) or not url.removeprefix(_PROTOCOL).split("/")[0]:
        fix = "give the repository's HTTPS address; neither http nor ssh is spoken"
        raise SpecError(field, f"is {url!r}, which does not begin with {_PROTOCOL} and a host", fix)
    if "@" in url:
        raise SpecError(field, "contains a user name or a password", "put it into a Secret, and name that in secretRef")
    return url
