"""Telling those outside of runs whom to trust: the gateway's authority, in a ConfigMap that the chart has made.

Runs get both address and authority from the operator; whatever else reads models takes them from there.
"""

from __future__ import annotations

import logging

from trainyard.contract import ENV_CA
from trainyard_operator.api.names import CONFIG_MAP
from trainyard_operator.kube.client import Client
from trainyard_operator.kube.errors import ApiError, NotFound

log = logging.getLogger(__name__)


async def publish_authority(client: Client, *, namespace: str, name: str, ca_pem: str) -> None:
    """Write the authority into the ConfigMap; without it runs go on, so that nothing here is a reason to stop."""
    try:
        await client.patch(CONFIG_MAP, name, {"data": {ENV_CA: ca_pem}}, namespace=namespace)
    except NotFound:
        log.info("there is no ConfigMap %s/%s to publish the gateway's authority in", namespace, name)
    except ApiError as error:
        log.warning("the gateway's authority is not in the ConfigMap %s/%s: %s", namespace, name, error)
