"""Where the nodes of a ComputeCluster come from."""
