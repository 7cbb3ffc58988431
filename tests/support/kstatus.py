"""What `kstatus`, and so Flux and `kubectl wait`'s relatives, make of an object of a kind that they do not know."""

from __future__ import annotations


def kstatus(found):
    """Return ``Terminating``, ``InProgress``, ``Failed`` or ``Current``, by kstatus' rules for conditions."""
    if found["metadata"].get("deletionTimestamp"):
        return "Terminating"
    status = found.get("status") or {}
    if status.get("observedGeneration", found["metadata"]["generation"]) != found["metadata"]["generation"]:
        return "InProgress"
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions") or ()}
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    if conditions.get("Stalled") == "True":
        return "Failed"
    return "Current" if conditions.get("Ready", "True") == "True" else "InProgress"
