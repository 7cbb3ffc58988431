"""Real Kubernetes on this machine, with no Docker: what `make up` starts and what the tests talk to."""
