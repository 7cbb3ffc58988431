"""Container images, named by the hash of what they are made from and kept as archives.

An image whose hash is in the cache is never built again; one whose hash the node knows is never imported again.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from devcluster import builders, context
from devcluster.fetching import patiently
from devcluster.layout import REPOSITORY
from devcluster.locks import locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from devcluster.builders import Builder
    from devcluster.layout import Cache
    from devcluster.progress import Progress

OWN = Path(__file__).resolve().parent / "images"
SUITE = "bookworm"
PACKAGES = ("python3", "python3-venv", "ca-certificates", "git", "zstd")
KEPT_ARCHIVES = 3
UNPACKED_LEFTOVERS = (
    "./var/cache/apt/archives/*.deb",
    "./var/lib/apt/lists/*",
    "./usr/share/doc/*",
    "./usr/share/man/*",
)


@dataclass(frozen=True)
class Image:
    """A built image: what it is called and where its archive is."""

    name: str
    tag: str
    archive: Path

    @property
    def repository(self) -> str:
        """Name without the tag."""
        return f"localhost/{self.name}"

    @property
    def reference(self) -> str:
        """Name with the tag."""
        return f"{self.repository}:{self.tag}"


@dataclass(frozen=True)
class Workshop:
    """Builds the images of one checkout."""

    cache: Cache
    builder: Builder
    progress: Progress

    def pause(self) -> Image:
        """Build what holds a pod's namespaces open."""
        source = OWN / "pause"
        key = context.digest(root=source, paths=[Path("Dockerfile"), Path("pause.c")])

        def fill(folder: Path) -> None:
            flags = ["-static", "-Os", "-s"]
            builders.run(["gcc", *flags, "-o", str(folder / "pause"), str(source / "pause.c")])

        return self._own("pause", key=key, fill=fill)

    def store(self, program: Path) -> Image:
        """Build the embedded object store around `program`."""
        # The program's folder is named by all that decides its bytes.
        key = context.digest(root=OWN / "store", paths=[Path("Dockerfile")], extra=(program.parent.name,))
        return self._own("store", key=key, fill=lambda folder: shutil.copy(program, folder / "versitygw"))

    def base(self) -> Image:
        """Build a Debian with Python."""
        key = context.digest(root=OWN / "base", paths=[Path("Dockerfile")], extra=(SUITE, *PACKAGES))
        return self._own("base", key=key, fill=self._debian)

    def from_repository(self, name: str, *, dockerfile: str, base: Image) -> Image:
        """Build an image of this project: its Dockerfile says which files of the repository it is made from."""
        text = (REPOSITORY / dockerfile).read_text(encoding="utf-8")
        paths = context.files(root=REPOSITORY, sources=context.copied(text))
        key = context.digest(root=REPOSITORY, paths=paths, extra=(text, base.tag))
        image = self._image(name, key)
        with self._missing(image) as missing:
            if missing:
                # The base may have been built in another life of the builder's storage.
                self._rebuild_if_unknown(base)
                with self._folder() as folder:
                    context.stage(root=REPOSITORY, paths=paths, target=folder)
                    self._build(image, folder, REPOSITORY / dockerfile, arguments={"BASE_IMAGE": base.reference})
        return image

    def _own(self, name: str, *, key: str, fill: Callable[[Path], object]) -> Image:
        image = self._image(f"trainyard-{name}", key)
        with self._missing(image) as missing:
            if missing:
                self._build_own(name, image, fill)
        return image

    def _build_own(self, name: str, image: Image, fill: Callable[[Path], object]) -> None:
        with self._folder() as folder:
            self._build(image, folder, OWN / name / "Dockerfile", arguments={}, fill=fill)

    def _rebuild_if_unknown(self, base: Image) -> None:
        if not self.builder.has(base.reference):
            self._build_own("base", base, self._debian)

    def _image(self, name: str, key: str) -> Image:
        return Image(name=name, tag=key, archive=self.cache.images / f"{name}-{key}.tar")

    @contextmanager
    def _missing(self, image: Image) -> Iterator[bool]:
        if image.archive.exists():
            # What is used is what is kept.
            os.utime(image.archive)
            yield False
            return
        with locked(
            self.cache.lock("images"),
            waiting=lambda: self.progress.say("another checkout is building images; waiting ..."),
        ):
            yield not image.archive.exists()

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        self.cache.images.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.cache.images, prefix=".building-") as name:
            # Builders copy the folder's own permissions to the image's root.
            Path(name).chmod(0o755)
            yield Path(name)

    def _build(
        self,
        image: Image,
        folder: Path,
        dockerfile: Path,
        *,
        arguments: dict[str, str],
        fill: Callable[[Path], object] = lambda _folder: None,
    ) -> None:
        temporary = image.archive.with_name(f".{image.archive.name}.new")
        temporary.unlink(missing_ok=True)
        with self.progress.step(f"building image {image.name}", f"image {image.name} built", slow=True):
            fill(folder)
            build = partial(
                self.builder.build,
                context=folder,
                dockerfile=dockerfile,
                reference=image.reference,
                arguments=arguments,
            )
            # Layers that are done are not built again.
            patiently(build, progress=self.progress)
            self.builder.save(reference=image.reference, archive=temporary)
        temporary.rename(image.archive)
        self._forget_old(image.name)

    def _debian(self, folder: Path) -> None:
        root = folder / "rootfs"
        patiently(partial(_bootstrap, root), progress=self.progress)
        excluded = [f"--exclude={pattern}" for pattern in UNPACKED_LEFTOVERS]
        builders.run(
            ["tar", "--create", "--directory", str(root), *excluded, "--file", str(folder / "rootfs.tar"), "."]
        )
        shutil.rmtree(root)

    def _forget_old(self, name: str) -> None:
        archives = sorted(self.cache.images.glob(f"{name}-*.tar"), key=lambda path: path.stat().st_mtime)
        for archive in archives[:-KEPT_ARCHIVES]:
            archive.unlink(missing_ok=True)


def _bootstrap(root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    options = ["--variant=minbase", f"--include={','.join(PACKAGES)}"]
    # Whatever it mounts on its way goes with the namespace.
    builders.run(["unshare", "--mount", "--", "debootstrap", *options, SUITE, str(root)])
