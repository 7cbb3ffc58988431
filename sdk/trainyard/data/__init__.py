"""Azure ML's package of this name."""
