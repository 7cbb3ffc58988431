"""kopf, used for what it is best at: watching. Handlers tell the informer what they hear and never wait."""

from __future__ import annotations

import sys

# kopf imports these clients where they are installed, for conveniences that nobody here uses; `kubernetes` alone
# takes 65 MB of memory. A module that is None cannot be imported.
for _client in ("kubernetes", "kubernetes_asyncio", "pykube"):
    sys.modules.setdefault(_client, None)  # type: ignore[arg-type]
