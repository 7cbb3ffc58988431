"""What `make demo` shows: the MNIST tutorial on a cluster, from the data's upload to a registered model."""
