"""A conda channel of small real packages; the file stands alone, so that a pod can make and serve one by itself.

Called as a program it makes packages of the Python that runs it, and serves them on the port that it is given.
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import json
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

PLACEHOLDER = "/placeholder/" + "_" * 60
# Large, and of no use to a script that only shows which Python it runs in.
_LEFT_OUT = {"__pycache__", "test", "idlelib", "tkinter", "ensurepip", "lib2to3", "dist-packages", "site-packages"}


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package: files by path, or links where the content is a text that begins with ``->``."""

    name: str
    version: str
    files: dict[str, bytes | str | Path]
    depends: list[str] = field(default_factory=list)
    noarch: bool = False  # for any Python
    subdir: str = "linux-64"
    programs: tuple[str, ...] = ()  # paths that may be executed

    @property
    def stem(self) -> str:
        return f"{self.name}-{self.version}-0"

    @property
    def index(self) -> dict[str, object]:
        return {
            "name": self.name, "version": self.version, "build": "0", "build_number": 0, "depends": self.depends,
            "subdir": "noarch" if self.noarch else self.subdir, **({"noarch": "python"} if self.noarch else {}),
        }  # fmt: skip


def write_channel(folder: Path, packages: list[Package], *, old_format: bool = False) -> None:
    """Write packages, and what tells of them, in the format of today or (`old_format`) as tar.bz2."""
    records: dict[str, dict[str, dict[str, object]]] = {"linux-64": {}, "noarch": {}}
    for package in packages:
        subdir = str(package.index["subdir"])
        (folder / subdir).mkdir(parents=True, exist_ok=True)
        file = folder / subdir / f"{package.stem}.{'tar.bz2' if old_format or package.noarch else 'conda'}"
        _write(package, file)
        raw = file.read_bytes()
        found = {"sha256": hashlib.sha256(raw).hexdigest(), "md5": hashlib.md5(raw).hexdigest(), "size": len(raw)}
        records.setdefault(subdir, {})[file.name] = {**package.index, **found}
    for subdir, files in records.items():
        (folder / subdir).mkdir(parents=True, exist_ok=True)
        new = {name: record for name, record in files.items() if name.endswith(".conda")}
        document = {"info": {"subdir": subdir}, "repodata_version": 1, "packages.conda": new}
        document["packages"] = {name: record for name, record in files.items() if name not in new}
        (folder / subdir / "repodata.json").write_text(json.dumps(document))


def python_package() -> Package:
    """Return a package of the Python that runs this: its program, and its library below `lib`."""
    version = "{}.{}".format(*sys.version_info[:2])
    library = Path(sysconfig.get_path("stdlib"))
    files: dict[str, bytes | str | Path] = {
        f"lib/python{version}/{path.relative_to(library)}": path.resolve()
        for path in library.rglob("*")
        if path.is_file() and not _LEFT_OUT & set(path.relative_to(library).parts) and path.name != "EXTERNALLY-MANAGED"
    }
    # A distribution's Python may look elsewhere for packages than all others do.
    files[f"lib/python{version}/sitecustomize.py"] = (
        "import site, sys\n"
        f"site.addsitedir(sys.prefix + '/lib/python{version}/site-packages')\n"
    )  # fmt: skip
    program = f"bin/python{version}"
    files[program] = Path(sys.executable).resolve()
    files |= {"bin/python3": f"->python{version}", "bin/python": f"->python{version}"}
    return Package(
        name="python", version=sys.version.split()[0].rstrip("+"), files=files, programs=(program,)
    )  # fmt: skip


def greeting_package(version: str = "1.0") -> Package:
    """Return a package for any Python that knows where it was installed, and has a program."""
    files: dict[str, bytes | str | Path] = {
        "site-packages/greeting.py": f"VERSION = {version!r}\nPREFIX = {PLACEHOLDER!r}\ndef main(): print('hello')\n",
    }
    return Package(name="greeting", version=version, files=files, depends=["python"], noarch=True)


def _write(package: Package, file: Path) -> None:
    entry_points = ["greet = greeting:main"] if package.name == "greeting" else []
    contents = {path: _content(source) for path, source in package.files.items()}
    paths = [_path(path, content) for path, content in contents.items()]
    info = {
        "info/index.json": json.dumps(package.index),
        "info/paths.json": json.dumps({"paths_version": 1, "paths": paths}),
        "info/files": "\n".join(contents),
        **({"info/link.json": json.dumps(_link(entry_points))} if package.noarch else {}),
    }
    infos = {path: text.encode() for path, text in info.items()}
    if file.name.endswith(".tar.bz2"):
        file.write_bytes(_tar({**infos, **contents}, package.programs, mode="w:bz2"))
        return
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"conda_pkg_format_version": 2}))
        archive.writestr(f"pkg-{package.stem}.tar.zst", _zstd(_tar(contents, package.programs)))
        archive.writestr(f"info-{package.stem}.tar.zst", _zstd(_tar(infos, ())))


def _link(entry_points: list[str]) -> dict[str, object]:
    return {"noarch": {"type": "python", "entry_points": entry_points}, "package_metadata_version": 1}


def _content(source: bytes | str | Path) -> bytes:
    if isinstance(source, Path):
        return source.read_bytes()
    return source.encode() if isinstance(source, str) else source


def _path(path: str, content: bytes) -> dict[str, object]:
    link = content.startswith(b"->")
    found = {"_path": path, "path_type": "softlink" if link else "hardlink"}
    if link:
        return {**found, "sha256": hashlib.sha256(b"").hexdigest(), "size_in_bytes": 0}
    if PLACEHOLDER.encode() in content:
        found |= {"file_mode": "text", "prefix_placeholder": PLACEHOLDER}
    return {**found, "sha256": hashlib.sha256(content).hexdigest(), "size_in_bytes": len(content)}


def _tar(contents: dict[str, bytes], programs: tuple[str, ...], *, mode: str = "w") -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode=mode) as tar:  # type: ignore[call-overload]
        for path, content in contents.items():
            member = tarfile.TarInfo(path)
            member.mode = 0o755 if path in programs else 0o644
            if content.startswith(b"->"):
                member.type, member.linkname = tarfile.SYMTYPE, content[2:].decode()
                tar.addfile(member)
                continue
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return raw.getvalue()


def _zstd(raw: bytes) -> bytes:
    return subprocess.run(["zstd", "-q", "-1", "-c"], input=raw, capture_output=True, check=True).stdout


if __name__ == "__main__":
    below = Path(sys.argv[2])
    write_channel(below / "yard", [python_package(), greeting_package("0.9"), greeting_package("1.0")])
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(below))
    http.server.ThreadingHTTPServer(("", int(sys.argv[1])), handler).serve_forever()
