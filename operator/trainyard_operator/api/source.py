"""`spec.source` and `spec.entryScript` of a TrainingJob: where the code comes from, and which file of it is run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from trainyard.contract import OUTPUTS
from trainyard_operator.api.fields import SpecError, read_object, read_path, read_reference

DEFAULT_ENTRY_SCRIPT: Final = "train.py"
MAX_FILE_NAME: Final = 253
MAX_OBJECT_NAME: Final = 253
MAX_INLINE_FILES: Final = 32
MAX_INLINE_BYTES: Final = 512 * 1024


@dataclass(frozen=True, kw_only=True)
class SourceSpec:
    """Where the code comes from: exactly one of `inline_files` (sizes in bytes by path) and `config_map`, a name."""

    inline_files: Mapping[str, int] | None = None
    config_map: str | None = None

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return what `spec.source` means.

        Raises
        ------
        SpecError
            If it cannot work.
        """
        source = read_object(value, "spec.source")
        config_map = read_reference(source.get("configMapRef"), "spec.source.configMapRef", MAX_OBJECT_NAME)
        inline = source.get("inline")
        if (inline is None) == (config_map is None):
            raise SpecError("spec.source", "must have exactly one of inline and configMapRef", "remove one, or add one")
        return cls(config_map=config_map) if inline is None else cls(inline_files=_read_inline(inline))


def read_entry_script(value: object, source: SourceSpec) -> str:
    """Return `spec.entryScript`, a file of `source` as far as that can be seen in the spec.

    Raises
    ------
    SpecError
        If it cannot work.
    """
    field = "spec.entryScript"
    script = DEFAULT_ENTRY_SCRIPT if value is None else read_path(value, field, at_most=MAX_FILE_NAME)
    if script.endswith("/") or script.startswith("-"):
        raise SpecError(field, f"is {script!r}", "it must name a file, and not begin with '-'")
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
