"""What the operator and the commands for administrators share, which run beside it with its settings and rights."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from trainyard_operator.kube.client import KubeClient
from trainyard_operator.kube.connection import Connection, ConnectionConfigError, find_connection
from trainyard_operator.settings import Settings, SettingsError
from trainyard_operator.storage.store import S3Store

EXIT_CONFIG = 78
EXIT_INCOMPLETE = 1


def find_surroundings(command: str) -> tuple[Settings, Connection] | None:
    """Return the operator's settings and its way to the API server; say what is wrong where there are none."""
    try:
        return Settings.from_environment(os.environ), find_connection(os.environ)
    except (SettingsError, ConnectionConfigError) as error:
        sys.stderr.write(f"{command}: {error}\n")
        return None


async def open_store(settings: Settings) -> S3Store:
    """Return the object store of the settings; whoever asked closes it."""
    return await S3Store.open(
        endpoint=settings.s3_endpoint,
        region=settings.s3_region,
        bucket=settings.s3_bucket,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key,
    )


@asynccontextmanager
async def open_surroundings(settings: Settings, connection: Connection) -> AsyncIterator[tuple[KubeClient, S3Store]]:
    """Yield clients of the API server and of the object store."""
    store = await open_store(settings)
    try:
        async with connection.open_session() as session:
            yield KubeClient(connection=connection, session=session), store
    finally:
        store.close()
