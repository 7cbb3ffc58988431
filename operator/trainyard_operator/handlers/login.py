"""kopf's way into the API server: a session of its own over the operator's connection."""

from __future__ import annotations

import kopf

from trainyard_operator.kube.connection import Connection


def register_login(registry: kopf.OperatorRegistry, *, connection: Connection) -> None:
    """Give kopf a new session whenever it asks for one: at its start, and when the API server answers 401."""

    @kopf.on.login(registry=registry, id="connection")
    async def login(**_: object) -> kopf.AiohttpSession:
        session = connection.open_session(seconds=None, connections=0)
        return kopf.AiohttpSession(server=connection.server, aiohttp_session=session)
