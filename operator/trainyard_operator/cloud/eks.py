"""Node groups of Amazon EKS, through boto3.

boto3 is imported, and a client made, with the first call: whoever has no such cluster pays nothing. Keys in the
environment are the object store's, which is often no AWS at all, so they are never used here: the operator's identity
in AWS is that of its service account or of its machine.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from trainyard_operator.api.reasons import ComputeClusterReason as Reason
from trainyard_operator.cloud.errors import CloudError
from trainyard_operator.providers.node_group import Failure, GroupAddress, GroupCall, Issue, NodeGroup

if TYPE_CHECKING:
    from mypy_boto3_eks import EKSClient

CONNECT_SECONDS = 3
READ_SECONDS = 10
ATTEMPTS = 2

_NOT_FOUND = "ResourceNotFoundException"
_IN_USE = "ResourceInUseException"
_DENIED = frozenset(
    {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "OptInRequired", "NotAuthorized"}
)
_UNKNOWN_CALLER = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "InvalidIdentityToken",
        "InvalidSignatureException",
        "UnrecognizedClientException",
    }
)
_THROTTLED = frozenset(
    {"RequestLimitExceeded", "Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException"}
)
_BROKEN = frozenset({"InternalFailure", "ServerException", "ServiceUnavailableException", "RequestTimeout"})
_IDENTITY = "give its service account a role (the chart's value operator.serviceAccount.annotations)"


class EksApi:
    """The `GroupApi` of Amazon EKS; `connect` makes the client of a region."""

    def __init__(self, connect: Callable[[str | None], EKSClient] | None = None) -> None:
        self._connect = connect or _connect
        self._clients: dict[str | None, EKSClient] = {}
        self._lock = threading.Lock()

    def describe(self, address: GroupAddress) -> NodeGroup | None:
        """Return the group, None where there is none."""
        try:
            with self._client(address) as client:
                answer = client.describe_nodegroup(clusterName=address.cluster, nodegroupName=address.name)
        except _GroupNotFoundError:
            return None
        return _read(answer["nodegroup"])

    def carry_out(self, call: GroupCall) -> None:
        """Make a call; a group that is there already, or gone already, is what was asked for."""
        names = {"clusterName": call.address.cluster, "nodegroupName": call.address.name}
        with contextlib.suppress(_GroupNotFoundError, _GroupExistsError), self._client(call.address) as client:
            if call.verb == "adopt":
                client.tag_resource(**call.arguments)
                return
            methods: dict[str, Callable[..., Any]] = {
                "create": client.create_nodegroup,
                "update": client.update_nodegroup_config,
                "delete": client.delete_nodegroup,
            }
            methods[call.verb](**names, **call.arguments)

    @contextlib.contextmanager
    def _client(self, address: GroupAddress) -> Iterator[EKSClient]:
        """Lend the client of a region, and turn what botocore raises into a `CloudError`."""
        with self._lock:  # making clients is nothing for several threads
            with _translated(address):
                client = self._clients.get(address.region) or self._connect(address.region)
            self._clients[address.region] = client
        try:
            with _translated(address):
                yield client
        except CloudError as error:
            if error.failure.reason == Reason.CLOUD_CREDENTIALS_MISSING:
                # A client looks for credentials once, when it is made.
                self._clients.pop(address.region, None)
            raise


class _GroupNotFoundError(Exception):
    """There is no such group in the cluster."""


class _GroupExistsError(Exception):
    """There is a group of that name in the cluster already."""


def _connect(region: str | None) -> EKSClient:
    import boto3  # noqa: PLC0415 - see the module's docstring
    import botocore.session  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    session = botocore.session.get_session()
    session.get_component("credential_provider").remove("env")
    # For the client, and for the one that botocore makes to fetch the role's credentials.
    session.set_default_client_config(
        Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        )
    )
    # EKS tells pods their region by this variable, of which boto3 knows nothing.
    return boto3.Session(botocore_session=session).client("eks", region_name=region or os.environ.get("AWS_REGION"))


def _read(answer: Any) -> NodeGroup:
    scaling = answer.get("scalingConfig") or {}
    return NodeGroup(
        status=answer["status"],
        arn=answer.get("nodegroupArn") or "",
        tags=answer.get("tags") or {},
        labels=answer.get("labels") or {},
        taints=tuple(answer.get("taints") or ()),
        least=scaling.get("minSize", 0),
        most=scaling.get("maxSize", 1),
        desired=scaling.get("desiredSize", 0),
        issues=tuple(
            Issue(
                code=issue.get("code", "Unknown"),
                message=issue.get("message", ""),
                resources=tuple(issue.get("resourceIds") or ()),
            )
            for issue in (answer.get("health") or {}).get("issues") or ()
        ),
    )


@contextlib.contextmanager
def _translated(address: GroupAddress) -> Iterator[None]:
    from botocore import exceptions  # noqa: PLC0415 - see the module's docstring

    try:
        yield
    except exceptions.ClientError as error:
        raise _answer(error, address) from error
    except (exceptions.NoCredentialsError, exceptions.CredentialRetrievalError) as error:
        raise _unknown(error) from error
    except exceptions.NoRegionError as error:
        words = (
            "spec.provider.eks.region is missing, and the operator's environment names no region: create another "
            "ComputeCluster that names one"
        )
        raise CloudError(Failure(reason=Reason.CLOUD_REFUSED, message=words)) from error
    except exceptions.ParamValidationError as error:
        words = f"AWS would refuse it: {' '.join(str(error).split())}"
        raise CloudError(Failure(reason=Reason.CLOUD_REFUSED, message=words)) from error
    except exceptions.BotoCoreError as error:
        words = f"AWS cannot be reached, and is asked again: {error}"
        raise CloudError(Failure(reason=Reason.CLOUD_UNAVAILABLE, message=words)) from error
    except OSError as error:  # a token's file that is not there
        raise _unknown(error) from error


def _unknown(error: Exception) -> CloudError:
    words = f"the operator has no credentials for AWS ({error}): {_IDENTITY}"
    return CloudError(Failure(reason=Reason.CLOUD_CREDENTIALS_MISSING, message=words))


def _answer(error: Any, address: GroupAddress) -> Exception:
    """Return what an error that AWS answered with means."""
    code, message = error.response.get("Error", {}).get("Code", ""), error.response.get("Error", {}).get("Message", "")
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    said = f"{code}: {message}"
    if code == _NOT_FOUND and not message.startswith("No cluster found"):
        return _GroupNotFoundError(said)
    if code == _IN_USE and error.operation_name == "CreateNodegroup":
        return _GroupExistsError(said)
    reason, words = Reason.CLOUD_REFUSED, f"AWS refuses it ({said}); it is asked again"
    if code == _NOT_FOUND:
        where = f"in {address.region}" if address.region else "in the operator's own region"
        reason = Reason.EKS_CLUSTER_NOT_FOUND
        words = (
            f"there is no EKS cluster {address.cluster} {where} ({said}): create another ComputeCluster that names the "
            "right spec.provider.eks.clusterName and region"
        )
    elif code in _DENIED:
        reason, words = Reason.CLOUD_ACCESS_DENIED, f"AWS says {said}: allow it in the policy of the operator's role"
    elif code in _UNKNOWN_CALLER:
        reason, words = Reason.CLOUD_CREDENTIALS_MISSING, f"AWS does not know the operator ({said}): {_IDENTITY}"
    elif code in _THROTTLED or status == 429:  # noqa: PLR2004
        reason, words = Reason.CLOUD_THROTTLED, f"AWS answers no more requests for now ({said}); it is asked again"
    elif code in _BROKEN or status >= 500:  # noqa: PLR2004
        reason, words = Reason.CLOUD_UNAVAILABLE, f"AWS fails inside ({said}); it is asked again"
    return CloudError(Failure(reason=reason, message=words))
