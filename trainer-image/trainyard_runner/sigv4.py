"""Addresses signed for S3 with a key of the user's own: AWS signature version 4, in the query.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

ALGORITHM = "AWS4-HMAC-SHA256"
SECONDS = 3600
_UNSIGNED = "UNSIGNED-PAYLOAD"


@dataclass(frozen=True)
class Keys:
    """A key pair, with the token that a temporary one has."""

    access: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


def presign(  # noqa: PLR0913 - the parts of a signature, each by name
    url: str,
    *,
    query: Mapping[str, str],
    keys: Keys,
    region: str,
    method: str = "GET",
    moment: float | None = None,
) -> str:
    """Return `url`, which has no query of its own, signed together with `query` for an hour.

    The path of `url` must be quoted as `path_of` does it.
    """
    now = time.gmtime(time.time() if moment is None else moment)
    date, stamp = time.strftime("%Y%m%d", now), time.strftime("%Y%m%dT%H%M%SZ", now)
    scope = f"{date}/{region}/s3/aws4_request"
    parts = urlsplit(url)
    signed = {
        **query,
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": f"{keys.access}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(SECONDS),
        "X-Amz-SignedHeaders": "host",
        **({"X-Amz-Security-Token": keys.token} if keys.token else {}),
    }
    canonical_query = query_of(signed)
    request = "\n".join([method, parts.path or "/", canonical_query, f"host:{parts.netloc}\n", "host", _UNSIGNED])
    to_sign = "\n".join([ALGORITHM, stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{keys.secret}".encode()
    for part in (date, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    return f"{url}?{canonical_query}&X-Amz-Signature={signature}"


def query_of(parameters: Mapping[str, str]) -> str:
    """Return parameters as a query, sorted and quoted as the signature wants it."""
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in parameters.items())
    return "&".join(f"{name}={value}" for name, value in pairs)


def path_of(*parts: str) -> str:
    """Return the path of a bucket and a key, quoted once, as S3 wants it."""
    return "/" + "/".join(quote(part, safe="/-_.~") for part in parts)
