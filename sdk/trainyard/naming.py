"""Names that operator and SDK must agree on, whichever of them comes first."""

from __future__ import annotations

import hashlib
import re

_MAX_LABEL_VALUE = 63
_DIGEST_CHARS = 8
_OBJECT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_ENDS_LIKE_A_DIGEST = re.compile(rf"-[0-9a-f]{{{_DIGEST_CHARS}}}\Z")
_NOT_ALLOWED = re.compile(r"[^a-z0-9]+")


def object_name(model_name: str) -> str:
    """Return the name of the RegisteredModel object of the model called `model_name`.

    A model's name that is a fit object name is kept. Every other one is made fit and gets a short digest of the whole,
    and so does a name that only looks as if it had one already: hence ``sklearn_mnist``, ``sklearn-mnist`` and
    ``Sklearn_mnist`` are three objects, and no model can be given a name that takes another one's object.
    """
    fits = len(model_name) <= _MAX_LABEL_VALUE and _OBJECT_NAME.fullmatch(model_name) is not None
    if fits and not _ENDS_LIKE_A_DIGEST.search(model_name):
        return model_name
    digest = hashlib.sha256(model_name.encode(errors="surrogatepass")).hexdigest()[:_DIGEST_CHARS]
    room = _MAX_LABEL_VALUE - len(digest) - 1
    stem = _NOT_ALLOWED.sub("-", model_name.lower()).strip("-")[:room].rstrip("-") or "model"
    return f"{stem}-{digest}"
