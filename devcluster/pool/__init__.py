"""The machines of the pool: a real containerd and kubelet for each Node that Karpenter's kwok provider makes up."""
