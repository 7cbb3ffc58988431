"""The status of a compute target, in Azure ML's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

STATES: Final = ("idle", "leaving", "preempted", "preparing", "running", "unusable")
DEFAULT_IDLE_SECONDS: Final = 120


@dataclass(frozen=True, kw_only=True)
class AmlComputeStatus:
    """What a compute target is like.

    Attributes
    ----------
    provisioning_state
        Creating, Succeeded, Failed or Deleting.
    provisioning_state_transition_time
        When it last began or ceased to be able to take runs.
    allocation_state
        Steady, or Resizing while machines come or go.
    allocation_state_transition_time
        None: it is not kept.
    creation_time
        When it was created.
    modified_time
        When its machines were last counted.
    current_node_count, target_node_count
        How many machines there are, and how many there should be.
    node_state_counts
        How many machines are in each state, such as ``idleNodeCount``.
    errors
        What is wrong with it.
    scale_settings
        How few and how many machines there may be, and how long an idle one is kept.
    vm_priority
        Dedicated or LowPriority.
    vm_size
        The size of its machines.
    reason
        What is wrong with it in a sentence; not in Azure ML, and not serialized.
    """

    provisioning_state: str
    provisioning_state_transition_time: str | None
    allocation_state: str
    allocation_state_transition_time: str | None
    creation_time: str
    modified_time: str | None
    current_node_count: int
    target_node_count: int
    node_state_counts: dict[str, int]
    errors: list[dict[str, Any]] | None
    scale_settings: dict[str, Any]
    vm_priority: str
    vm_size: str | None
    reason: str

    @property
    def min_nodes(self) -> int:
        """How few nodes the target keeps."""
        return int(self.scale_settings["minNodeCount"])

    @classmethod
    def of_object(cls, cluster: Mapping[str, Any]) -> AmlComputeStatus:
        """Return the status of a ComputeCluster."""
        spec, status = cluster.get("spec") or {}, cluster.get("status") or {}
        ready: Mapping[str, Any] = next((c for c in status.get("conditions") or () if c["type"] == "Ready"), {})
        scale = spec.get("scale") or {}
        idle = scale.get("idleSecondsBeforeScaleDown", DEFAULT_IDLE_SECONDS)
        counts = status.get("nodeStateCounts") or {}
        return cls(
            provisioning_state=status.get("provisioningState", "Creating"),
            provisioning_state_transition_time=ready.get("lastTransitionTime"),
            allocation_state=status.get("allocationState", "Steady"),
            allocation_state_transition_time=None,
            creation_time=cluster["metadata"].get("creationTimestamp", ""),
            modified_time=(status.get("usage") or {}).get("asOf"),
            current_node_count=status.get("currentNodeCount", 0),
            target_node_count=status.get("targetNodeCount", 0),
            node_state_counts={f"{state}NodeCount": counts.get(state, 0) for state in STATES},
            errors=_errors(status, ready),
            scale_settings={
                "minNodeCount": scale.get("minNodes", 0),
                "maxNodeCount": scale.get("maxNodes", 0),
                "nodeIdleTimeBeforeScaleDown": f"PT{idle}S",
            },
            vm_priority=spec.get("vmPriority", "Dedicated"),
            vm_size=spec.get("vmSize"),
            reason=str(ready.get("message", "")),
        )

    def serialize(self) -> dict[str, Any]:
        """Return the status as a dictionary with Azure ML's keys."""
        return {
            "allocationState": self.allocation_state,
            "allocationStateTransitionTime": self.allocation_state_transition_time,
            "creationTime": self.creation_time,
            "currentNodeCount": self.current_node_count,
            "errors": self.errors,
            "modifiedTime": self.modified_time,
            "nodeStateCounts": dict(self.node_state_counts),
            "provisioningState": self.provisioning_state,
            "provisioningStateTransitionTime": self.provisioning_state_transition_time,
            "scaleSettings": dict(self.scale_settings),
            "targetNodeCount": self.target_node_count,
            "vmPriority": self.vm_priority,
            "vmSize": self.vm_size,
        }


def _errors(status: Mapping[str, Any], ready: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    found = [{"code": error["code"], "message": error["message"]} for error in status.get("errors") or ()]
    if status.get("provisioningState") == "Failed" and ready:
        found.append({"code": ready["reason"], "message": ready["message"]})
    return found or None
