"""The fixture that every test with an event loop has."""

from __future__ import annotations

import asyncio
import gc
import ssl
import warnings

from aiohttp import ClientSession, TCPConnector

from tests.support.certificates import certificate
from tests.support.loops import connections_are_closed

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nso far\n\r\n"


async def leave_a_watch(port, trust):
    """Give up an answer that has no end."""
    async with ClientSession(connector=TCPConnector(ssl=trust)) as session:
        answer = await session.get(f"https://127.0.0.1:{port}/")
        assert await answer.content.readline() == b"so far\n"
        answer.close()


def open_sockets():
    known = asyncio.get_running_loop()._transports.values()
    return [one for transport in list(known) if (one := transport.get_extra_info("socket")).fileno() != -1]


async def test_a_watch_over_tls_that_was_left_is_closed_before_the_loop_ends(tmp_path):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD)
        await reader.read()
        writer.close()

    pem, context = certificate(tmp_path)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    await leave_a_watch(server.sockets[0].getsockname()[1], ssl.create_default_context(cadata=pem))
    assert open_sockets()
    await connections_are_closed()
    assert not open_sockets()
    server.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.collect()
