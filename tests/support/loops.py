"""The event loops of tests."""

from __future__ import annotations

import asyncio

# asyncio itself waits half as long for the other side's farewell.
SECONDS = 60.0


async def connections_are_closed() -> None:
    """Wait until every connection of the running loop is closed.

    A TLS connection is closed by a farewell that the other side answers, and neither aiohttp nor asyncio gives
    anything to await it by. A loop that ends before leaves sockets behind, for which a later test would be blamed.
    """
    # It knows them weakly, so one that is closed may still be there.
    known = asyncio.get_running_loop()._transports
    async with asyncio.timeout(SECONDS):
        while any(transport.get_extra_info("socket").fileno() != -1 for transport in list(known.values())):  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.01)
