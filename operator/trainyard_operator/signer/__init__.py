"""A process beside the operator that holds the key for signing model versions, and nothing else.

The operator sends it names and digests over a Unix socket that only their pod has; the key never leaves it.
"""
