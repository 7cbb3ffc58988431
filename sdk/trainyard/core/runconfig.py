"""Run configurations, under the module that Azure ML has for them."""

from trainyard.remote.runconfig import DEFAULT_CPU_IMAGE, RunConfiguration

__all__ = ["DEFAULT_CPU_IMAGE", "RunConfiguration"]
