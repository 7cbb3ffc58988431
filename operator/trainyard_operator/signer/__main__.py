"""The signer's process: one key, one socket."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from trainyard_operator.signer.signing import Key, KeyUnusable
from trainyard_operator.telemetry.logs import configure_logs

EXIT_CONFIG = 78
MAX_BODY = 64 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")

log = logging.getLogger("trainyard_operator.signer")


def main() -> int:
    """Sign until told to stop; return the exit status."""
    configure_logs("INFO")
    try:
        key = Key(Path(os.environ["TRAINYARD_SIGNING_KEY"]))
        socket = os.environ["TRAINYARD_SIGNER_SOCKET"]
    except KeyError as error:
        print(f"trainyard-signer: {error.args[0]} is not set", file=sys.stderr)  # noqa: T201
        return EXIT_CONFIG
    except KeyUnusable as error:
        print(f"trainyard-signer: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_CONFIG
    # What an earlier life of the container has left is nobody's.
    Path(socket).unlink(missing_ok=True)
    asyncio.run(_run(key, socket))
    return 0


@asynccontextmanager
async def serving(key: Key, *, socket: str) -> AsyncIterator[None]:
    """Answer ``POST /sign`` on a Unix socket."""

    async def sign(request: web.Request) -> web.Response:
        wish = await request.json()
        files = wish["files"]
        if not files or not all(_SHA256.fullmatch(digest) for digest in files.values()):
            raise web.HTTPBadRequest(text="files must have the SHA-256 of at least one file")
        bundle = await asyncio.to_thread(key.sign, name=wish["name"], files=files)
        log.info("signed %s: %d files", wish["name"], len(files))
        return web.json_response({"bundle": bundle.decode(), "keySha256": key.sha256})

    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_post("/sign", sign)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.UnixSite(runner, socket).start()
        log.info("signing with the key whose public half has the SHA-256 %s", key.sha256)
        yield
    finally:
        await runner.cleanup()


async def _run(key: Key, socket: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving(key, socket=socket):
        await stop.wait()


if __name__ == "__main__":
    sys.exit(main())
