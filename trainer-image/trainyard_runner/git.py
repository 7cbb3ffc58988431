"""One revision of a git repository, fetched over HTTPS by the program git.

git runs with no configuration but what stands here: no hooks, no submodules, no other protocol, no prompt, and
credentials only for the host that the spec names, from a file that only this container has.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from trainyard.contract import MAX_SOURCE_BYTES
from trainyard.patience import Retry, Transient, Unavailable, persistently
from trainyard_runner.source import SourceError, too_large

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from trainyard.contract import GitSource

# A host that cannot be reached may be a network that is down, or a name that nobody has: this long it is the first.
PATIENCE = Retry(limit=600.0, first=1.0)
COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_OLDEST = (2, 31)
_STALLED_SECONDS = 60
_SAID_LINES = 4
_FIELD = "spec.source.git"
# Hosts take any name beside a token, but not none.
_NAME_BESIDE_TOKEN = "x-access-token"  # noqa: S105

_TOO_LARGE = ("file too large", "file size limit exceeded", f"died of signal {signal.SIGXFSZ.value}")
_NOT_FOUND = (
    "repository not found",
    "not found",
    "the requested url returned error: 404",
    "does not appear to be a git",
)
_NO_REVISION = ("couldn't find remote ref", "not our ref", "unadvertised object", "no such ref")
_DENIED = (
    "authentication failed",
    "could not read username",
    "could not read password",
    "access denied",
    "the requested url returned error: 401",
    "the requested url returned error: 403",
)
_UNTRUSTED = ("certificate", "gnutls_handshake", "ssl peer", "unable to get local issuer")
_TRANSIENT = (
    "could not resolve host",
    "couldn't resolve host",
    "failed to connect",
    "couldn't connect",
    "connection refused",
    "connection reset",
    "connection timed out",
    "timed out",
    "timeout",
    "early eof",
    "rpc failed",
    "remote end hung up",
    "operation too slow",
    "unexpected disconnect",
    "empty reply",
    "recv failure",
    "send failure",
    "the requested url returned error: 429",
    "the requested url returned error: 5",
)


@dataclass(frozen=True)
class Checkout:
    """Files of one commit, in `folder`."""

    folder: Path
    commit: str


def fetch(source: GitSource, *, scratch: Path, secret: Path, on_trouble: Callable[[str], None]) -> Checkout:
    """Return the files of a revision, below `scratch`, which must not exist yet and is the caller's to remove.

    Parameters
    ----------
    secret
        Folder of the Secret's keys; it need not exist.
    on_trouble
        Told of each failed try, in words.

    Raises
    ------
    SourceError
        With git's own words, and the field that is to blame.
    """
    program = shutil.which("git")
    if program is None:
        raise SourceError("the image that prepares runs has no git: build it from trainer-image/Dockerfile")
    files = scratch / "files"
    files.mkdir(parents=True)
    git = _Git(program, source=source, files=files, environment=_environment(source, scratch=scratch, secret=secret))
    git.check_version()
    with _small_files():
        git.run("init", "--quiet", "--template=", "--initial-branch=trainyard")
        try:
            persistently(git.fetch, retry=PATIENCE, on_trouble=on_trouble)
        except Unavailable as error:
            words = f"{_FIELD}.url: {source['url']} cannot be reached: {error}"
            raise SourceError(words, reason="SourceNotFound") from error
        commit = git.run("rev-parse", "--verify", "FETCH_HEAD^{commit}").strip()
        git.run("checkout", "--quiet", "--detach", commit)
    return Checkout(folder=_below(files, source["path"]), commit=commit)


class _Git:
    """git in one folder."""

    def __init__(self, program: str, *, source: GitSource, files: Path, environment: Mapping[str, str]) -> None:
        self._program = program
        self._source = source
        self._files = files
        self._environment = dict(environment)

    def check_version(self) -> None:
        """Refuse a git that would overlook the settings that it is given by its environment."""
        said = self.run("version")
        found = re.search(r"(\d+)\.(\d+)", said)
        if found is None or (int(found[1]), int(found[2])) < _OLDEST:
            oldest = ".".join(map(str, _OLDEST))
            raise SourceError(f"the image that prepares runs has {said.strip()!r}: it needs git {oldest} or newer")

    def fetch(self) -> None:
        """Fetch the revision, and nothing that came before it."""
        depth = ("--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--no-auto-maintenance")
        self.run("fetch", *depth, "--", self._source["url"], self._source["revision"])

    def run(self, *arguments: str) -> str:
        """Run a command of git and return what it prints; its failure is a `Transient` or a `SourceError`."""
        done = subprocess.run(
            [self._program, "-C", str(self._files), *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            raise _failure(done.stderr, self._source, full=done.returncode == -signal.SIGXFSZ)
        return done.stdout


@contextmanager
def _small_files() -> Iterator[None]:
    """Let no file become larger than a source may be: git asks nobody before it fills a disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    most = MAX_SOURCE_BYTES if hard == resource.RLIM_INFINITY else min(MAX_SOURCE_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _environment(source: GitSource, *, scratch: Path, secret: Path) -> dict[str, str]:
    settings = {
        "core.hooksPath": "/dev/null",
        "core.fsmonitor": "false",
        "core.symlinks": "true",
        "core.bigFileThreshold": "16m",
        "pack.threads": "1",
        "index.threads": "1",
        "submodule.recurse": "false",
        "protocol.allow": "never",
        "protocol.https.allow": "always",
        "http.lowSpeedLimit": "1000",
        "http.lowSpeedTime": str(_STALLED_SECONDS),
        "credential.helper": "",
        "advice.detachedHead": "false",
    }
    authorities = secret / "ca.crt"
    if authorities.is_file():
        settings["http.sslCAInfo"] = str(authorities)
    answer = _answer(secret)
    if answer is not None:
        file = scratch / "credential"
        file.touch(mode=0o600)
        file.write_text(answer)
        parts = urlsplit(source["url"])
        # Only for this host: a redirect must not carry the credential to another one.
        settings[f"credential.{parts.scheme}://{parts.netloc}.helper"] = f"!f() {{ cat '{file}'; }}; f"
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(scratch),
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ALLOW_PROTOCOL": "https",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        if name in os.environ:
            environment[name] = os.environ[name]
    for number, (key, value) in enumerate(settings.items()):
        environment[f"GIT_CONFIG_KEY_{number}"] = key
        environment[f"GIT_CONFIG_VALUE_{number}"] = value
    return environment


def _answer(secret: Path) -> str | None:
    """Return what a credential helper says, None where the Secret has no credential."""
    username, password, token = (_read(secret / name) for name in ("username", "password", "token"))
    if not (password or token):
        return None
    for value in (username, password, token):
        if any(c in value for c in "\n\r\0"):
            raise SourceError(f"{_FIELD}.secretRef: a value of the Secret has more than one line")
    return f"username={username or _NAME_BESIDE_TOKEN}\npassword={password or token}\n"


def _read(path: Path) -> str:
    try:
        return path.read_text().rstrip("\n")
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise SourceError(f"{_FIELD}.secretRef: the key {path.name} of the Secret cannot be read: {error}") from error


def _failure(said: str, source: GitSource, *, full: bool) -> Exception:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    words = "; ".join(lines[-_SAID_LINES:]) or "git gave no reason"
    text = said.lower()

    def told_by(signs: tuple[str, ...]) -> bool:
        return any(sign in text for sign in signs)

    if full or told_by(_TOO_LARGE):
        return too_large()
    if not told_by((*_NO_REVISION, *_DENIED, *_NOT_FOUND)) and told_by(_TRANSIENT):
        return Transient(words)
    return _refusal(words, source, told_by)


def _refusal(words: str, source: GitSource, told_by: Callable[[tuple[str, ...]], bool]) -> SourceError:
    if told_by(_NO_REVISION):
        fix = "give a branch, a tag, or all digits of a commit that the server lets be fetched"
        return _source_error("revision", f"{source['revision']!r}: {words}: {fix}", reason="SourceNotFound")
    if told_by(_DENIED):
        fix = _TO_MEND if "secret" in source else f"name a Secret that may read it in {_FIELD}.secretRef"
        return _source_error("url", f"{words}: {fix}, or correct the address of a repository that does not exist")
    if told_by(_NOT_FOUND):
        return _source_error("url", f"{words}: correct it, or give a Secret that may see it", reason="SourceNotFound")
    if told_by(_UNTRUSTED):
        return _source_error("url", f"{words}: put the server's authority into the key ca.crt of the Secret")
    return _source_error("url", words)


_TO_MEND = f"correct username, password or token in the Secret of {_FIELD}.secretRef"


def _source_error(field: str, words: str, *, reason: str = "SourceInvalid") -> SourceError:
    return SourceError(f"{_FIELD}.{field}: {words}", reason=reason)


def _below(files: Path, path: str) -> Path:
    folder = files / path if path else files
    if not folder.is_dir() or not os.path.realpath(folder).startswith(os.path.realpath(files)):
        names = sorted(f"{p.name}/" for p in files.iterdir() if p.is_dir() and p.name != ".git")
        has = f"its folders are {', '.join(names[:20])}" if names else "it has no folders"
        raise _source_error("path", f"there is no folder {path!r} in the repository; {has}", reason="SourceNotFound")
    return folder
