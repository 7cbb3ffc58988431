"""What a training script imports: ``from trainyard import Run``."""

from trainyard.run import Run

__all__ = ["Run"]
