"""The object store: where everything is, and how it is read, written, copied and signed."""
