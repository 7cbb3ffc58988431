"""The Kubernetes API behind a Protocol: dicts in, dicts out, nothing that knows what a TrainingJob is."""
