"""What a test can make the pool do wrong: the keys of the ConfigMap ``kube-system/pool-agent`` and a Node's annotation.

The ConfigMap is read again before every decision; without it, or without a key, the pool does its best.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG_MAP = "pool-agent"
NAMESPACE = "kube-system"
# On a Node: `reclaim` or `die`.
ORDER = "trainyard.dev/pool-agent"
# On the same Node, by the agent: when it began to obey, so that it goes on after a restart.
SINCE = "trainyard.dev/pool-agent-since"
# On the ConfigMap, by the agent: whether a stockout is in force now.
STOCKOUT = "trainyard.dev/pool-agent-stockout"


@dataclass(frozen=True)
class Options:
    """How the pool behaves.

    Parameters
    ----------
    boot_delay
        ``bootDelaySeconds``: from the Node object to the machine's start.
    boot_fails
        ``boot: fail``: machines never start.
    stockout
        ``stockout: "true"``: the provider has no capacity at all.
    reclaim_notice
        ``reclaimNoticeSeconds``: from the order `reclaim` (and its taint) to the drain.
    reclaim_grace
        ``reclaimGraceSeconds``: from the drain to the power cut, whether it is through or not.
    removal
        ``removalSeconds``: from a machine's death to the deletion of its objects, as a cloud's controller does it.
    restarts_kubelet
        ``restartKubelet: "false"`` leaves a kubelet that ended as it is.
    """

    boot_delay: float = 0
    boot_fails: bool = False
    stockout: bool = False
    reclaim_notice: float = 5
    reclaim_grace: float = 30
    removal: float = 10
    restarts_kubelet: bool = True


def parse(data: Mapping[str, str]) -> Options:
    """Read the data of the ConfigMap; what cannot be read is as if it were absent."""
    default = Options()
    return Options(
        boot_delay=_seconds(data.get("bootDelaySeconds"), default.boot_delay),
        boot_fails=data.get("boot", "").strip() == "fail",
        stockout=_flag(data.get("stockout"), default=default.stockout),
        reclaim_notice=_seconds(data.get("reclaimNoticeSeconds"), default.reclaim_notice),
        reclaim_grace=_seconds(data.get("reclaimGraceSeconds"), default.reclaim_grace),
        removal=_seconds(data.get("removalSeconds"), default.removal),
        restarts_kubelet=_flag(data.get("restartKubelet"), default=default.restarts_kubelet),
    )


def _flag(text: str | None, *, default: bool) -> bool:
    return {"true": True, "false": False}.get((text or "").strip().lower(), default)


def _seconds(text: str | None, default: float) -> float:
    try:
        seconds = float(text or "")
    except ValueError:
        return default
    return seconds if 0 <= seconds < float("inf") else default
