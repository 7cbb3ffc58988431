"""Our signatures are botocore's, whatever is signed."""

from __future__ import annotations

import datetime as dt

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from trainyard_runner.sigv4 import Keys, path_of, presign, query_of

KEYS = Keys(access="AKIAEXAMPLE", secret="secret/with+signs=")
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)


def theirs(url, keys, region, monkeypatch):
    moment = dt.datetime(2026, 11, 25, 12, 0, tzinfo=dt.UTC)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_: moment.replace(tzinfo=None))
    request = AWSRequest(method="GET", url=url)
    credentials = Credentials(keys.access, keys.secret, keys.token or None)
    S3SigV4QueryAuth(credentials, "s3", region, expires=3600).add_auth(request)
    return request.url


def parts(url):
    head, _, query = url.partition("?")
    return head, dict(pair.split("=", 1) for pair in query.split("&"))


@pytest.mark.parametrize("token", ["", "a/session+token=="])
@settings(deadline=None, max_examples=60)
@given(key=TEXT, prefix=TEXT, region=st.sampled_from(["us-east-1", "eu-central-1"]))
def test_an_address_is_signed_like_botocore_does(token, key, prefix, region):
    with pytest.MonkeyPatch.context() as patch:
        keys = Keys(access=KEYS.access, secret=KEYS.secret, token=token)
        url = "https://s3.example.com:9000" + path_of("bucket", key)
        query = {"list-type": "2", "prefix": prefix}
        moment = dt.datetime(2026, 11, 25, 12, 0, tzinfo=dt.UTC).timestamp()
        ours = presign(url, query=query, keys=keys, region=region, moment=moment)
        assert parts(ours) == parts(theirs(f"{url}?{query_of(query)}", keys, region, patch))


def test_keys_are_not_shown():
    assert "secret" not in repr(KEYS).replace("secret=", "")
