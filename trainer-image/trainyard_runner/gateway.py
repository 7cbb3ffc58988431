"""The clients of one pod: who it asks, with which token, and how it says that it is waiting."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from trainyard.contract import ENV_CA, ENV_GATEWAY
from trainyard.transfer import ONE_GRANT, WHOLE_OUTAGE, GatewayClient, StoreClient
from trainyard_runner.warnings import tell

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trainyard.patience import Retry
    from trainyard_runner.layout import Layout

REPORT_TIMEOUT = 10.0
_TROUBLE_SECONDS = 60.0


class Clients:
    """The gateway for work that must succeed, the gateway for reports, and the store."""

    def __init__(
        self,
        *,
        environ: Mapping[str, str],
        layout: Layout,
        retry: Retry | None = None,
        on_trouble: Callable[[str], None] | None = None,
    ) -> None:
        url, ca_pem = environ[ENV_GATEWAY], environ[ENV_CA]
        said = _Trouble()

        def trouble(message: str) -> None:
            said.tell(message)
            if on_trouble:
                on_trouble(message)

        def token() -> str:
            return layout.token.read_text().strip()

        self.gateway = GatewayClient(url, ca_pem=ca_pem, token=token, retry=retry or WHOLE_OUTAGE, on_trouble=trouble)
        self.reports = GatewayClient(url, ca_pem=ca_pem, token=token, timeout=REPORT_TIMEOUT)
        self.store = StoreClient(retry=retry or ONE_GRANT, on_trouble=trouble)
        self.trouble = trouble


class _Trouble:
    def __init__(self) -> None:
        self._next = 0.0

    def tell(self, message: str) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _TROUBLE_SECONDS
            tell(f"trying again: {message}")
