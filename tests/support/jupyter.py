"""JupyterLab and Notebook 7 as a process, and pages of them in a real browser."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.async_api import Error as PageError
from playwright.async_api import async_playwright

from devcluster import ports, requirements
from devcluster.progress import Progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from typing import Self

SECONDS = 180.0
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}


class Jupyter:
    """A server for the notebooks of a folder, with no settings but its own."""

    def __init__(self, *, folder: Path, home: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self._home = home
        (self._port,) = ports.free(1)
        self.address = f"http://127.0.0.1:{self._port}"
        places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "HOME")
        self._environment = {**os.environ, **environment, **{name: str(home / name.lower()) for name in places}}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for name in ("HOME", "IPYTHONDIR"):
            Path(self._environment[name]).mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={self._port}",
            "--ServerApp.port_retries=0", "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True",
            f"--ServerApp.root_dir={self.folder}", "--expose-app-in-browser", "--JupyterNotebookApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly",
        ]  # fmt: skip
        with (self._home / "jupyter.log").open("wb") as log:
            self._process = subprocess.Popen(
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + SECONDS
        while True:
            try:
                self.ask("GET", "/api")
                break
            except urllib.error.URLError:
                assert time.monotonic() < end, (self._home / "jupyter.log").read_text()
                time.sleep(0.1)
        self.setting("@jupyterlab/apputils-extension:notification", {"fetchNews": "false", "checkForUpdates": False})
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            # Its kernels go with it.
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def ask(self, method: str, path: str, document: Any = None) -> Any:
        body = None if document is None else json.dumps(document).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.address + path, method=method, data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            content = response.read()
            return json.loads(content) if content else None

    def setting(self, name: str, values: dict[str, Any]) -> None:
        self.ask("PUT", f"/lab/api/settings/{name}", {"raw": json.dumps(values)})

    def theme(self, name: str) -> None:
        """Make new pages ``light`` or ``dark``."""
        self.setting("@jupyterlab/apputils-extension:themes", {"theme": THEMES[name]})

    def idle(self) -> bool:
        """Whether all kernels are up, with somebody who listens."""
        try:
            kernels = self.ask("GET", "/api/kernels")
        except urllib.error.HTTPError:
            # One of them is just being started.
            return False
        return bool(kernels) and all(k["execution_state"] == "idle" and k["connections"] for k in kernels)

    def end_kernels(self) -> None:
        """End all kernels."""
        for kernel in self.ask("GET", "/api/kernels"):
            self.ask("DELETE", f"/api/kernels/{kernel['id']}")

    def write(self, name: str, cells: Iterable[str]) -> Path:
        """Write a notebook of code cells."""
        document = {
            "cells": [
                {
                    "cell_type": "code",
                    "id": f"cell-{n}",
                    "execution_count": None,
                    "metadata": {},
                    "outputs": [],
                    "source": c,
                }
                for n, c in enumerate(cells)
            ],
            "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        (self.folder / name).write_text(json.dumps(document))
        return self.folder / name

    def without_kernel(self, name: str, copy: str) -> Path:
        """Write a copy of a notebook whose kernel nobody has."""
        document = json.loads((self.folder / name).read_text())
        # A language of its own: another kernel of the same would be started in its place.
        document["metadata"]["kernelspec"] = {"display_name": "gone", "language": "gone", "name": "gone"}
        document["metadata"]["language_info"] = {"name": "gone"}
        (self.folder / copy).write_text(json.dumps(document))
        return self.folder / copy


class Screen:
    """One page, and what went wrong on it."""

    def __init__(self, page: Any, jupyter: Jupyter) -> None:
        self.page = page
        self._jupyter = jupyter
        self.errors: list[str] = []
        # Jupyter has errors of its own; what widgets load comes from a blob.
        page.on("pageerror", lambda error: self.errors.append(str(error)) if "blob:" in str(error.stack) else None)
        page.on("dialog", self._close_dialog)
        page.on("console", lambda said: self.errors.append(said.text) if "RunDetails" in said.text else None)

    async def open(self, name: str, *, notebook: bool = False) -> None:
        """Open a notebook in JupyterLab, or in Notebook 7."""
        path = f"/notebooks/{name}" if notebook else f"/lab/tree/{name}?reset"
        await self.page.goto(self._jupyter.address + path)
        await self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=SECONDS * 1000)

    async def run_all(self) -> None:
        """Run all cells, once there is a kernel."""
        await self.until("window.jupyterapp !== undefined")
        async with asyncio.timeout(SECONDS):
            while not await asyncio.to_thread(self._jupyter.idle):  # noqa: ASYNC110 - another process starts it
                await asyncio.sleep(0.2)
        await self.page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")

    async def _close_dialog(self, dialog: Any) -> None:
        self.errors.append(f"a dialog: {dialog.message}")
        await dialog.dismiss()

    async def save(self) -> None:
        """Save the notebook."""
        await self.page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")

    async def until(self, condition: str, *, seconds: float = SECONDS) -> Any:
        """Wait until JavaScript is true."""
        try:
            return await self.page.wait_for_function(condition, timeout=seconds * 1000)
        except PageError as error:
            shown = await self.page.evaluate(
                "[...document.querySelectorAll('.trainyard-run')].map((one) => one.innerText)"
            )
            raise AssertionError(f"not so after {seconds} s: {condition}\n{shown}\n{self.errors}") from error

    async def text(self, selector: str) -> str:
        """Return what people read in an element."""
        return str(await self.page.locator(selector).first.inner_text())


@asynccontextmanager
async def chromium(jupyter: Jupyter) -> AsyncIterator[Any]:
    """Lend a maker of pages: headless, real, and with no network but this machine's."""
    path = await asyncio.to_thread(requirements.browser, progress=Progress())
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(path), args=list(ARGUMENTS))

        async def screen(**options: Any) -> Screen:
            page = await browser.new_page(viewport={"width": 1280, "height": 1100}, **options)
            page.set_default_timeout(SECONDS * 1000)
            return Screen(page, jupyter)

        try:
            yield screen
        finally:
            await browser.close()
