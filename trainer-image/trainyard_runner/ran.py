"""What a script ran in, asked of the operator: the pod itself cannot see its image's digest."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from trainyard.transfer import GatewayRefused

if TYPE_CHECKING:
    from trainyard.contract import Ran
    from trainyard.transfer import GatewayClient
    from trainyard_runner.warnings import Warnings

# A node tells of a container's image a moment after it has started it, and a short script has ended by then.
WAIT_SECONDS = 10.0
_PAUSE_SECONDS = 0.2


def what_ran(gateway: GatewayClient, *, warnings: Warnings, seconds: float = WAIT_SECONDS) -> Ran:
    """Return what the script ran in; what cannot be learned is left out, with a warning.

    Raises
    ------
    Unavailable
        If the gateway is away for longer than its client is patient.
    """
    until = time.monotonic() + seconds
    try:
        while True:
            found = cast("Ran", gateway.grants({"op": "ran"}))
            if "imageDigest" in found:
                return found
            if time.monotonic() >= until:
                break
            time.sleep(_PAUSE_SECONDS)
    except GatewayRefused as error:
        warnings.add(f"the manifest does not say which image ran: {error.message}")
        return {}
    warnings.add("the manifest does not say which image ran: the node has not told the digest of the image")
    return found
