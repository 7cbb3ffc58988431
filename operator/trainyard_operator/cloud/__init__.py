"""What is asked of clouds, outside of the Kubernetes cluster."""
