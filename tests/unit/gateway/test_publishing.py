import pytest

from tests.unit.gateway.builders import KubeObjects
from trainyard_operator.gateway.publishing import publish_authority
from trainyard_operator.kube.errors import Forbidden, NotFound, Unavailable


class Client(KubeObjects):
    def __init__(self, error=None):
        super().__init__()
        self.error, self.patched = error, []

    async def patch(self, kind, name, patch, *, namespace=None):
        self.patched.append((kind.kind, namespace, name, patch))
        if self.error:
            raise self.error


async def publish(client):
    await publish_authority(client, namespace="system", name="trainyard-gateway", ca_pem="PEM")


async def test_the_authority_is_added_to_the_charts_config_map():
    client = Client()
    await publish(client)
    assert client.patched == [("ConfigMap", "system", "trainyard-gateway", {"data": {"TRAINYARD_CA": "PEM"}})]


@pytest.mark.parametrize(
    "error", [NotFound("gone", code=404), Forbidden("no right", code=403), Unavailable("away", code=0)]
)
async def test_runs_do_not_wait_for_that(error):
    await publish(Client(error))
