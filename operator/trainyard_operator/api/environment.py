"""Environments: what a run asks for beside its image, in the one form that two equal wishes share.

Everything that decides what is installed is in the hash, and nothing else: a build happens once for each hash and
namespace. Whatever could mean something else tomorrow (an option, a local path, an address) is refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from trainyard.contract import MAX_REQUIREMENTS_BYTES, canonical_json
from trainyard_operator.api.conda import CondaSpec
from trainyard_operator.api.fields import (
    MAX_OBJECT_NAME,
    OBJECT_NAME,
    SpecError,
    read_list,
    read_object,
    read_optional_text,
    read_path,
    read_text,
)

JsonObject = dict[str, Any]

IMAGE: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$")
MAX_IMAGE: Final = 512
REQUIREMENT: Final = re.compile(r"^[A-Za-z0-9][^\x00-\x1F]*$")
MAX_REQUIREMENT: Final = 512
MAX_PIP: Final = 200
MAX_REQUIREMENTS_FILE: Final = 253
MAX_FILE_REQUIREMENTS: Final = 500
VARIABLE_NAME: Final = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
MAX_VARIABLE_NAME: Final = 256
MAX_VARIABLE: Final = 8192
MAX_VARIABLES: Final = 100
RESERVED_VARIABLES: Final = "TRAINYARD_"
DATA_KEY: Final = re.compile(r"^[A-Za-z0-9._-]+$")
MAX_DATA_KEY: Final = 253

_HASH_CHARS: Final = 12
_COMMENT = re.compile(r"(^|\s)#.*$")


@dataclass(frozen=True, kw_only=True)
class KeyReference:
    """One key of a Secret or ConfigMap of the run's namespace; `source` is the field that names it."""

    source: str  # secretKeyRef | configMapKeyRef
    name: str
    key: str


@dataclass(frozen=True, kw_only=True)
class EnvironmentSpec:
    """What `spec.environment` says; requirements are normalised, sorted and each there once."""

    image: str | None
    pip: tuple[str, ...]
    requirements: str | None
    variables: Mapping[str, str | KeyReference]
    conda: CondaSpec | None = None

    @property
    def builds(self) -> bool:
        """Whether it asks for more than an image."""
        return bool(self.pip) or self.requirements is not None or self.conda is not None

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return what `value` means.

        Raises
        ------
        SpecError
            If it cannot work.
        """
        field = "spec.environment"
        fields = read_object(value, field)
        requirements, conda = fields.get("requirements"), fields.get("conda")
        return cls(
            image=read_optional_text(fields.get("image"), f"{field}.image", at_most=MAX_IMAGE, pattern=IMAGE),
            pip=_read_pip(fields.get("pip")),
            requirements=_read_file(requirements) if requirements is not None else None,
            variables=_read_variables(fields.get("variables")),
            conda=CondaSpec.parse(conda) if conda is not None else None,
        )


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Everything that decides what a build installs.

    `index` is the digest of the package indexes' addresses: packages of a corrected index are another environment.
    `alias` is the one of the address that the channels of `conda` are below.
    """

    image: str
    platform: str
    requirements: tuple[str, ...]
    index: str
    conda: CondaSpec | None = None
    alias: str = ""

    @property
    def document(self) -> JsonObject:
        """The form that is hashed, and kept with the build."""
        conda = {} if self.conda is None else {"conda": self.conda.document, "alias": self.alias}
        return {
            **conda,
            "image": self.image,
            "platform": self.platform,
            "requirements": list(self.requirements),
            "index": self.index,
        }

    @property
    def hash(self) -> str:
        """What the environment is known by."""
        return hashlib.sha256(canonical_json(self.document)).hexdigest()

    @property
    def name(self) -> str:
        """The name of the Job that builds it."""
        return environment_name(self.hash)

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Self:
        """Return the environment of a `document`; one that was not made from an environment has another hash."""
        return cls(
            image=str(document.get("image")),
            platform=str(document.get("platform")),
            requirements=tuple(str(text) for text in document.get("requirements") or ()),
            index=str(document.get("index")),
            conda=CondaSpec.of_document(document.get("conda")),
            alias=str(document.get("alias", "")),
        )


def environment_name(digest: str) -> str:
    """Return what the environment with this hash is called among the objects of its namespace."""
    return f"env-{digest[:_HASH_CHARS]}"


def normalise(text: str, field: str) -> str:
    """Return a requirement in its one form: canonical name, sorted extras and specifiers.

    Raises
    ------
    SpecError
        If it is none, or does not name a package of an index.
    """
    words = text.strip()
    if words.startswith("-"):
        fix = "options are the operator's to set; name packages only"
        raise SpecError(field, f"is {words!r}, an option of pip", fix)
    if words.startswith((".", "/", "~")) or words.endswith((".whl", ".tar.gz", ".zip")):
        fix = "publish it to a package index, or put its code into the source"
        raise SpecError(field, f"is {words!r}, a file or folder", fix)
    try:
        requirement = Requirement(words)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        fix = "write it as pip does, for example scikit-learn==1.9.1"
        raise SpecError(field, f"is {words!r}, which is no requirement ({reason})", fix) from None
    if requirement.url is not None:
        # What is at an address may change while its name, and so the hash, stays.
        fix = "publish the package to an index, and name it with its version"
        raise SpecError(field, f"is {words!r}, which is at an address", fix)
    requirement.name = canonicalize_name(requirement.name)
    requirement.extras = {canonicalize_name(extra) for extra in requirement.extras}
    return str(requirement)


def read_requirements(text: str, file: str) -> tuple[str, ...]:
    """Return the requirements that a file of the source lists.

    Raises
    ------
    SpecError
        If it is too long or has a line that is refused; the message names the line.
    """
    field = "spec.environment.requirements"
    if len(text.encode(errors="surrogatepass")) > MAX_REQUIREMENTS_BYTES:
        raise SpecError(field, f"names {file}, which has more than {MAX_REQUIREMENTS_BYTES} bytes", "shorten it")
    found: dict[str, None] = {}
    joined = re.sub(r"\\\r?\n", " ", text)
    for number, line in enumerate(joined.splitlines(), 1):
        words = _COMMENT.sub("", line).strip()
        if not words:
            continue
        where = f"{field}: line {number} of {file}"
        if " --" in words:
            raise SpecError(where, f"is {words!r}, with an option of pip", "remove the option")
        if len(words) > MAX_REQUIREMENT:
            raise SpecError(where, f"has {len(words)} characters", f"at most {MAX_REQUIREMENT} are possible")
        found[normalise(words, where)] = None
    if len(found) > MAX_FILE_REQUIREMENTS:
        raise SpecError(
            field, f"names {file}, which lists {len(found)}", f"at most {MAX_FILE_REQUIREMENTS} are possible"
        )
    return tuple(sorted(found))


def read_packages(lines: Iterable[str]) -> Mapping[str, tuple[Version, ...]]:
    """Return the versions by name that a lock file pins; more than one where they depend on the Python."""
    found: dict[str, tuple[Version, ...]] = {}
    for line in lines:
        words = _COMMENT.sub("", line).strip()
        if not words:
            continue
        try:
            requirement = Requirement(words)
            (pin,) = requirement.specifier
            version = Version(pin.version)
        except (InvalidRequirement, InvalidVersion, ValueError):
            continue
        name = canonicalize_name(requirement.name)
        found[name] = (*found.get(name, ()), version)
    return found


def has_all(packages: Mapping[str, Sequence[Version]], requirements: Iterable[str]) -> bool:
    """Return whether `packages` meet all `requirements`, whichever of their versions is the one that is there.

    A requirement with extras or a marker counts as not met: what it means depends on more than is known here.
    """
    for text in requirements:
        requirement = Requirement(text)
        versions = packages.get(canonicalize_name(requirement.name), ())
        if requirement.extras or requirement.marker is not None or not versions:
            return False
        if not all(requirement.specifier.contains(version, prereleases=True) for version in versions):
            return False
    return True


def _read_pip(value: object) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for index, item in enumerate(read_list(value, "spec.environment.pip", at_most=MAX_PIP)):
        field = f"spec.environment.pip[{index}]"
        text = read_text(item, field, at_most=MAX_REQUIREMENT)
        found[normalise(text, field)] = None
    return tuple(sorted(found))


def _read_file(value: object) -> str:
    field = "spec.environment.requirements"
    path = read_path(value, field, at_most=MAX_REQUIREMENTS_FILE)
    if path.endswith("/"):
        raise SpecError(field, f"is {path!r}", "it must name a file")
    return path


def _read_variables(value: object) -> Mapping[str, str | KeyReference]:
    variables: dict[str, str | KeyReference] = {}
    for index, item in enumerate(read_list(value, "spec.environment.variables", at_most=MAX_VARIABLES)):
        field = f"spec.environment.variables[{index}]"
        entry = read_object(item, field)
        name = read_text(entry.get("name"), f"{field}.name", at_most=MAX_VARIABLE_NAME, pattern=VARIABLE_NAME)
        if name in variables:
            raise SpecError(f"{field}.name", f"is {name!r} a second time", "remove one of them")
        if name.startswith(RESERVED_VARIABLES):
            raise SpecError(f"{field}.name", f"is {name!r}", f"{RESERVED_VARIABLES}… is taken; choose another name")
        variables[name] = _read_variable(entry, field)
    return variables


def _read_variable(entry: JsonObject, field: str) -> str | KeyReference:
    given = [name for name in ("value", "secretKeyRef", "configMapKeyRef") if entry.get(name) is not None]
    if len(given) > 1:
        raise SpecError(field, f"has {' and '.join(given)}", "a variable has one of them; remove the others")
    if not given or given == ["value"]:
        text = entry.get("value")
        return read_text("" if text is None else text, f"{field}.value", at_most=MAX_VARIABLE)
    source = given[0]
    reference = read_object(entry[source], f"{field}.{source}")
    return KeyReference(
        source=source,
        name=read_text(reference.get("name"), f"{field}.{source}.name", at_most=MAX_OBJECT_NAME, pattern=OBJECT_NAME),
        key=read_text(reference.get("key"), f"{field}.{source}.key", at_most=MAX_DATA_KEY, pattern=DATA_KEY),
    )
