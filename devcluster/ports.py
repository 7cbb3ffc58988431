"""Free ports of the loopback address."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

# Below those that the kernel gives to whoever asks for any, or connects to somebody: nobody is given one of these by
# chance before its program listens. And below those of Services of type NodePort.
CHOICE = range(20_000, 30_000)


def free(count: int) -> list[int]:
    """Pick `count` different TCP ports that nobody listens on."""
    dice = random.SystemRandom()
    with ExitStack() as stack:
        ports: list[int] = []
        for port in dice.sample(CHOICE, k=len(CHOICE)):
            if len(ports) == count:
                break
            listener = stack.enter_context(socket.socket())
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
        return ports
