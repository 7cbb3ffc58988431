"""What can go wrong with a cloud."""

from __future__ import annotations

from trainyard_operator.providers.node_group import Failure


class CloudError(Exception):
    """A call came to nothing; `failure` says why, in words to act on."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.reason}: {failure.message}")
        self.failure = failure
