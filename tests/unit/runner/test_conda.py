"""Conda packages, installed by the real runner and the real solver from a channel of this machine."""

from __future__ import annotations

import base64
import functools
import http.server
import importlib.util
import json
import subprocess
import threading
from pathlib import Path

import pytest

from tests.support.certificates import certificate
from tests.support.conda_channel import Package, greeting_package, write_channel

HASH = "a" * 64
# Not a real one: what matters here is what is put around it.
PYTHON = Package(
    name="python",
    version="3.12.1",
    files={"bin/python3.12": "#!/bin/sh\nexit 0\n", "bin/python3": "->python3.12"},
    programs=("bin/python3.12",),
)
LIBRARY = Package(name="library", version="2.0", files={"lib/library.txt": "of conda"}, depends=["__glibc >=2.17"])
TOO_NEW = Package(name="picky", version="1.0", files={}, depends=["__archspec 1 zen5"])


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; where the server has a login, to those who have it too."""

    def send_head(self):
        wanted = self.server.login
        if wanted and self.headers.get("Authorization") != wanted:
            self.send_error(401)
            return None
        return super().send_head()

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def serve(tmp_path):
    """Return what serves the channel `yard` and returns the address of its alias."""
    folder = tmp_path / "channels"
    write_channel(folder / "yard", [PYTHON, LIBRARY, TOO_NEW, greeting_package("0.9"), greeting_package()])
    servers = []

    def start(*, login=None, context=None):
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
        )  # fmt: skip
        server.login = f"Basic {base64.b64encode(login.encode()).decode()}" if login else None
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def build(pod):
    """A pod of a build that has its tools, and not begun."""
    pod.layout.tools.mkdir(parents=True)
    solver = importlib.util.find_spec("rattler")
    pod.layout.solver_library.mkdir()
    (pod.layout.solver_library / "rattler").symlink_to(Path(solver.origin).parent)
    return pod


def ask(pod, alias, *packages, requirements=(), **over):
    wish = {"alias": alias, "channels": ["yard"], "packages": list(packages), "username": "", "password": "", "ca": ""}
    index = {"url": "https://index/simple", "extraUrls": [], "ca": ""}
    pod.yard.gateway.build = {
        "hash": HASH, "requirements": list(requirements), "index": index, "built": False, "conda": {**wish, **over}
    }  # fmt: skip
    return pod.start("build").wait()


def test_packages_are_solved_installed_and_told(build, serve):
    assert ask(build, serve(), "library", "greeting") == 0, build.container_log("build")
    env = build.layout.environment
    assert (env / "lib/library.txt").read_text() == "of conda"
    assert f"PREFIX = {str(env)!r}" in (env / "lib/python3.12/site-packages/greeting.py").read_text()
    assert (env / "bin/greet").read_text().startswith(f"#!{env}/bin/python3.12")
    built = json.loads(build.layout.built_file.read_text())
    assert built == {"hash": HASH, "packages": ["greeting=1.0=0", "library=2.0=0", "python=3.12.1=0"]}
    assert "+ greeting=1.0=0" in build.container_log("build")


@pytest.mark.parametrize(
    ("packages", "words"),
    [
        pytest.param(["greeting>=7"], "No candidates were found for greeting >=7", id="no such version"),
        pytest.param(["nothing"], "No candidates were found for nothing", id="no such package"),
        pytest.param(["picky"], "__archspec", id="another processor than any node has"),
    ],
)
def test_what_has_no_solution_is_said_in_the_solvers_words(build, serve, packages, words):
    assert ask(build, serve(), *packages) == 1
    said = build.termination()
    assert (said["reason"], said["container"]) == ("EnvironmentBuildFailed", "build")
    assert said["message"].startswith("Cannot solve the request because of:")
    assert words in said["message"]
    assert words in said["logTail"]


def test_pip_without_a_python_among_the_packages_says_so(build, serve):
    assert ask(build, serve(), "library", requirements=["tabulate"]) == 1
    assert "add python to spec.environment.conda.packages" in build.termination()["message"]


def test_a_login_and_an_authority_open_the_channel_and_the_login_is_kept_nowhere(build, serve, tmp_path):
    authority, context = certificate(tmp_path, ca=False)
    alias = serve(login="me:hush-hush", context=context)
    assert ask(build, alias, "library", username="me", password="hush-hush", ca=authority) == 0, build.container_log(
        "build"
    )
    kept = subprocess.run(["grep", "-rl", "hush-hush", build.layout.environment], capture_output=True, check=False)
    assert kept.stdout == b""
    assert "hush-hush" not in build.container_log("build")


def test_a_channel_that_refuses_is_named(build, serve):
    alias = serve(login="me:hush-hush")
    assert ask(build, alias, "library", username="me", password="wrong-word") == 1
    assert "401 Unauthorized" in build.termination()["message"]
    assert "wrong-word" not in json.dumps(build.termination())


def test_a_script_is_led_to_the_prefix(build):
    environment = build.layout.environment
    (environment / "bin").mkdir(parents=True)
    (environment / "conda-meta").mkdir()
    script = "import os; print(os.environ['CONDA_PREFIX'], 'VIRTUAL_ENV' in os.environ, os.environ['PATH'])"
    build.prepared(script)
    assert build.execute() == 0
    assert f"{environment} False {environment / 'bin'}:" in build.container_log()
