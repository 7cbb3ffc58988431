"""Working with a cluster from outside of it: the kubeconfig is the only credential, and nothing is kept here."""

from importlib.util import find_spec

# Looked for and not imported: that is left to the first call that needs one.
_MISSING = [name for name in ("kubernetes", "tqdm", "yaml") if find_spec(name) is None]
if _MISSING:
    raise ImportError(
        f"trainyard.remote is for people who start runs; not installed here: {', '.join(_MISSING)}. "
        "pip install 'trainyard[sdk]'"
    )
