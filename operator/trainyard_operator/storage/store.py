"""The object store behind one small Protocol, and S3 behind it.

boto3 blocks, so each call runs in a thread pool of its own: a stalled store can use up these threads, never those that
the rest of the process depends on. boto3 is imported when the store is opened, because that takes most of a second.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeVar

from trainyard_operator.storage import layout
from trainyard_operator.storage.errors import (
    BucketNotFound,
    ObjectNotFound,
    ObjectTooLarge,
    StoreDenied,
    StoreRefused,
    StoreUnavailable,
)

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

Result = TypeVar("Result")

THREADS = 8
# Copying and hashing take as long as objects are large: in threads of their own they keep nobody waiting.
SLOW_THREADS = 4
CHUNK_BYTES = 1 << 20
PAGE = 1000
URL_SECONDS = 3600
# Within S3's limit for one PUT and one CopyObject.
MAX_OBJECT_BYTES = 5 << 30

CONNECT_SECONDS = 5
# Three attempts fit into the time that a reconcile may take to look around: who waits for the store is told why.
READ_SECONDS = 15
# A server-side copy answers once all bytes are copied.
COPY_SECONDS = 900

_TRANSIENT = frozenset(
    {
        "SlowDown",
        "RequestTimeout",
        "InternalError",
        "ServiceUnavailable",
        "ConditionalRequestConflict",
        "OperationAborted",
    }
)


@dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """What a store knows of one object; `sha256` in hex, where the store kept one; `etag` as it came."""

    key: str
    bytes: int
    etag: str | None = None
    sha256: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)  # known from `head` and `digest` only
    modified: datetime | None = None  # known from `list` only
    retained: str = ""  # why the store does not let it be deleted, in words; known from `head` only


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page of a listing, in the byte order of the keys; `more` says whether another one follows."""

    objects: tuple[ObjectInfo, ...] = ()
    folders: tuple[str, ...] = ()
    more: bool = False


@dataclass(frozen=True, kw_only=True)
class SignedPut:
    """An address that takes one PUT, which must carry exactly these headers."""

    url: str
    headers: dict[str, str]


class ObjectStore(Protocol):
    """One bucket. Every method may raise a `StoreError`."""

    def uri(self, key: str) -> str:
        """Return `key` as an address for people."""

    async def get(self, key: str, *, limit: int) -> bytes | None:
        """Return an object's bytes, None where there is no such object; refuse more than `limit` bytes."""

    async def put(self, key: str, body: bytes, *, only_if_absent: bool = False) -> bool:
        """Write an object with its checksum; False where it was there already and had to be absent."""

    async def head(self, key: str) -> ObjectInfo | None:
        """Return what is known of an object, None where there is no such object."""

    async def digest(self, key: str) -> ObjectInfo:
        """Return size and SHA-256 of an object, reading it where the store kept no checksum."""

    async def reread(self, key: str) -> ObjectInfo:
        """Return size and SHA-256 of an object's bytes, which are read whatever the store says of them."""

    async def list(self, prefix: str, *, after: str = "", limit: int = PAGE, delimiter: str = "") -> Page:
        """Return the objects below `prefix` whose keys sort after `after`."""

    async def copy(self, source: str, target: str) -> None:
        """Copy an object, with its checksum, inside the store."""

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete up to a page of objects; those that are not there are no trouble."""

    async def may_retain(self) -> bool:
        """Return whether objects may be locked against deletion; `head` says which are."""

    def sign_get(self, key: str, *, seconds: int = URL_SECONDS) -> str:
        """Return an address from which the object can be read without keys."""

    def sign_put(
        self,
        key: str,
        *,
        sha256: str | None = None,
        seconds: int = URL_SECONDS,
        once: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> SignedPut:
        """Return an address that takes the object; with `sha256` no other bytes, with `once` only where none is."""

    def sign_delete(self, key: str, *, seconds: int = URL_SECONDS) -> str:
        """Return an address that deletes the object."""


class S3Store:
    """`ObjectStore` on anything that speaks S3: AWS, versitygw and others."""

    def __init__(self, *, client: S3Client, copier: S3Client, bucket: str) -> None:
        self._client = client
        self._copier = copier
        self._bucket = bucket
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="s3")
        self._slow_threads = ThreadPoolExecutor(max_workers=SLOW_THREADS, thread_name_prefix="s3-slow")

    @classmethod
    async def open(
        cls,
        *,
        endpoint: str | None,
        region: str,
        bucket: str,
        access_key: str | None = None,
        secret_key: str | None = None,
    ) -> Self:
        """Return a store ready for calls; nothing is sent yet.

        Parameters
        ----------
        endpoint
            Address of the server; None means AWS itself.
        access_key, secret_key
            Where None, boto3 looks where it always does: environment, web identity, instance profile.
        """
        make = functools.partial(
            _clients, endpoint=endpoint, region=region, access_key=access_key, secret_key=secret_key
        )
        client, copier = await asyncio.to_thread(make)
        return cls(client=client, copier=copier, bucket=bucket)

    def close(self) -> None:
        """Let go of threads and connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._slow_threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()
        self._copier.close()

    def uri(self, key: str) -> str:
        """Return ``s3://bucket/key``."""
        return layout.uri(self._bucket, key)

    async def ensure_bucket(self) -> None:
        """Create the bucket where it is missing.

        Raises
        ------
        BucketNotFound
            If it is missing and the operator's keys may not create it.
        """
        await self._run(self._ensure_bucket)

    async def get(self, key: str, *, limit: int) -> bytes | None:
        """Return an object's bytes, None where there is no such object; refuse more than `limit` bytes."""
        return await self._run(self._get, key, limit)

    async def put(self, key: str, body: bytes, *, only_if_absent: bool = False) -> bool:
        """Write an object with its checksum; False where it was there already and had to be absent."""
        return await self._run(self._put, key, body, only_if_absent)

    async def head(self, key: str) -> ObjectInfo | None:
        """Return what is known of an object, None where there is no such object."""
        return await self._run(self._head, key)

    async def digest(self, key: str) -> ObjectInfo:
        """Return size and SHA-256 of an object, reading it where the store kept no checksum."""
        info = await self._run(self._head, key)
        if info is None:
            raise ObjectNotFound(f"there is no object {key}")
        if info.sha256 is not None:
            return info
        return replace(await self._run_slow(self._hash, key), metadata=info.metadata)

    async def reread(self, key: str) -> ObjectInfo:
        """Return size and SHA-256 of an object's bytes, which are read whatever the store says of them."""
        return await self._run_slow(self._hash, key)

    async def list(self, prefix: str, *, after: str = "", limit: int = PAGE, delimiter: str = "") -> Page:
        """Return the objects below `prefix` whose keys sort after `after`."""
        return await self._run(self._list, prefix, after, limit, delimiter)

    async def copy(self, source: str, target: str) -> None:
        """Copy an object, with its checksum, inside the store."""
        await self._run_slow(self._copy, source, target)

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete up to a page of objects; those that are not there are no trouble."""
        await self._run(self._delete, keys)

    async def may_retain(self) -> bool:
        """Return whether objects may be locked against deletion; `head` says which are."""
        return await self._run(self._may_retain)

    def sign_get(self, key: str, *, seconds: int = URL_SECONDS) -> str:
        """Return an address from which the object can be read without keys."""
        params = {"Bucket": self._bucket, "Key": key}
        return self._client.generate_presigned_url("get_object", Params=params, ExpiresIn=seconds)

    def sign_put(
        self,
        key: str,
        *,
        sha256: str | None = None,
        seconds: int = URL_SECONDS,
        once: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> SignedPut:
        """Return an address that takes the object; with `sha256` no other bytes, with `once` only where none is."""
        params: dict[str, Any] = {"Bucket": self._bucket, "Key": key}
        headers = {}
        if sha256 is not None:
            checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
            params["ChecksumSHA256"] = checksum
            headers["x-amz-checksum-sha256"] = checksum
        if once:
            params["IfNoneMatch"] = headers["if-none-match"] = "*"
        if metadata:
            params["Metadata"] = dict(metadata)
            headers.update({f"x-amz-meta-{name}": value for name, value in metadata.items()})
        url = self._client.generate_presigned_url("put_object", Params=params, ExpiresIn=seconds)
        return SignedPut(url=url, headers=headers)

    def sign_delete(self, key: str, *, seconds: int = URL_SECONDS) -> str:
        """Return an address that deletes the object."""
        params = {"Bucket": self._bucket, "Key": key}
        return self._client.generate_presigned_url("delete_object", Params=params, ExpiresIn=seconds)

    async def _run(self, call: Callable[..., Result], *args: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *args)

    async def _run_slow(self, call: Callable[..., Result], *args: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._slow_threads, call, *args)

    def _ensure_bucket(self) -> None:
        with _typed(self._bucket):
            try:
                self._client.head_bucket(Bucket=self._bucket)
            except self._client.exceptions.ClientError as error:
                if _status(error) != 404:  # noqa: PLR2004
                    raise
            else:
                return
            region = self._client.meta.region_name
            where: Any = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
            with contextlib.suppress(self._client.exceptions.BucketAlreadyOwnedByYou):
                try:
                    self._client.create_bucket(Bucket=self._bucket, **where)
                except self._client.exceptions.ClientError as error:
                    if _status(error) != 403:  # noqa: PLR2004
                        raise
                    message = f"the bucket {self._bucket!r} does not exist, and the keys given may not create it"
                    raise BucketNotFound(message) from error

    def _get(self, key: str, limit: int) -> bytes | None:
        with _typed(key):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=key)
            except self._client.exceptions.NoSuchKey:
                return None
            with contextlib.closing(answer["Body"]) as stream:
                size = answer["ContentLength"]
                if size > limit:
                    raise ObjectTooLarge(f"{key} has {size} bytes, more than the {limit} that are read")
                return stream.read()

    def _put(self, key: str, body: bytes, only_if_absent: bool) -> bool:  # noqa: FBT001
        checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
        condition: Any = {"IfNoneMatch": "*"} if only_if_absent else {}
        with _typed(key):
            try:
                self._client.put_object(Bucket=self._bucket, Key=key, Body=body, ChecksumSHA256=checksum, **condition)
            except self._client.exceptions.ClientError as error:
                if only_if_absent and _status(error) == 412:  # noqa: PLR2004
                    return False
                raise
        return True

    def _head(self, key: str) -> ObjectInfo | None:
        with _typed(key):
            try:
                answer = self._client.head_object(Bucket=self._bucket, Key=key, ChecksumMode="ENABLED")
            except self._client.exceptions.ClientError as error:
                if _status(error) == 404:  # noqa: PLR2004
                    return None
                raise
        sha256 = _hex(answer.get("ChecksumSHA256"), whole=answer.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT")
        return ObjectInfo(
            key=key,
            bytes=answer["ContentLength"],
            etag=answer.get("ETag"),
            sha256=sha256,
            metadata=answer.get("Metadata") or {},
            retained=_retained(answer.get("ObjectLockRetainUntilDate"), answer.get("ObjectLockLegalHoldStatus")),
        )

    def _hash(self, key: str) -> ObjectInfo:
        digest, size = hashlib.sha256(), 0
        with _typed(key):
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
            with contextlib.closing(answer["Body"]) as stream:
                for chunk in stream.iter_chunks(CHUNK_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
        return ObjectInfo(key=key, bytes=size, sha256=digest.hexdigest())

    def _list(self, prefix: str, after: str, limit: int, delimiter: str) -> Page:
        optional: Any = {"StartAfter": after} if after else {}
        if delimiter:
            optional["Delimiter"] = delimiter
        with _typed(prefix):
            answer = self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, MaxKeys=limit, **optional)
        return Page(
            objects=tuple(
                ObjectInfo(key=o["Key"], bytes=o["Size"], etag=o.get("ETag"), modified=o.get("LastModified"))
                for o in answer.get("Contents", ())
            ),
            folders=tuple(p["Prefix"] for p in answer.get("CommonPrefixes", ())),
            more=answer["IsTruncated"],
        )

    def _delete(self, keys: Sequence[str]) -> None:
        with _typed(keys[0]):
            wish: Any = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
            answer = self._client.delete_objects(Bucket=self._bucket, Delete=wish)
        for refused in answer.get("Errors", ()):
            raise StoreRefused(f"{refused.get('Key')}: {refused.get('Message') or refused.get('Code')}")

    def _may_retain(self) -> bool:
        with _typed(self._bucket):
            try:
                self._client.get_object_lock_configuration(Bucket=self._bucket)
            except self._client.exceptions.ClientError as error:
                if _status(error) >= 500:  # noqa: PLR2004
                    raise
                # Where the question itself is not allowed, each object has to be asked.
                return _status(error) in {401, 403}
        return True

    def _copy(self, source: str, target: str) -> None:
        with _typed(source):
            self._copier.copy_object(
                Bucket=self._bucket, Key=target, CopySource={"Bucket": self._bucket, "Key": source}
            )


def _clients(
    *, endpoint: str | None, region: str, access_key: str | None, secret_key: str | None
) -> tuple[S3Client, S3Client]:
    import boto3  # noqa: PLC0415 - see the module's docstring
    from botocore.config import Config  # noqa: PLC0415

    # A server of one's own is reached under one name: only AWS has a name for each bucket.
    style: Literal["path", "virtual"] = "path" if endpoint else "virtual"
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": style},
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 3},
        max_pool_connections=THREADS,
        # SHA-256 is given where it is wanted; another checksum would have to be signed into each address as well.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = boto3.Session(aws_access_key_id=access_key, aws_secret_access_key=secret_key, region_name=region)
    make = functools.partial(session.client, "s3", endpoint_url=endpoint or None)
    return make(config=config), make(config=config.merge(Config(read_timeout=COPY_SECONDS)))


@contextlib.contextmanager
def _typed(key: str) -> Iterator[None]:
    """Turn what botocore raises into a `StoreError`."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError  # noqa: PLC0415
    from botocore.parsers import ResponseParserError  # noqa: PLC0415

    try:
        yield
    except ClientError as error:
        raise _translate(error, key) from error
    except NoCredentialsError as error:
        raise StoreDenied("no keys for the object store: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from error
    except BotoCoreError as error:
        raise StoreUnavailable(f"the object store cannot be reached: {error}") from error
    except ResponseParserError as error:  # of a proxy that has its own words, or an answer that was cut
        raise StoreUnavailable(f"{key}: the answer of the object store cannot be read: {error}") from error


def _translate(error: Any, key: str) -> Exception:
    status, code = _status(error), error.response.get("Error", {}).get("Code", "")
    text = f"{key}: {error.response.get('Error', {}).get('Message') or code} (HTTP {status}, {code})"
    if code == "NoSuchBucket":
        return BucketNotFound(text)
    if status >= 500 or status in {408, 429} or code in _TRANSIENT:  # noqa: PLR2004
        return StoreUnavailable(text)
    if status in {401, 403}:
        return StoreDenied(text)
    if status == 404:  # noqa: PLR2004
        return ObjectNotFound(text)
    return StoreRefused(text)


def _retained(until: datetime | None, hold: str | None) -> str:
    if until is not None and until > datetime.now(UTC):
        return f"retained until {until.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return "under a legal hold" if hold == "ON" else ""


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _hex(checksum: str | None, *, whole: bool) -> str | None:
    # An object that was sent in parts has a checksum of its parts' checksums, which says nothing of its bytes.
    if checksum is None or not whole or "-" in checksum:
        return None
    try:
        return base64.b64decode(checksum, validate=True).hex()
    except binascii.Error:
        return None
