"""Trainyard's operator: TrainingJob, ComputeCluster and RegisteredModel on any Kubernetes cluster."""
