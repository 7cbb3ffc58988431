"""How fast the operator is, measured against a client that does nothing else than the same writes."""
