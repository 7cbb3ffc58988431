from __future__ import annotations

from pathlib import Path

import pytest

from devcluster import chart
from devcluster.errors import DevclusterError
from devcluster.images import Image


def image(name: str) -> Image:
    return Image(name=name, tag="0123", archive=Path("/images", name))


def test_the_embedded_cluster_never_pulls_what_was_imported():
    images = chart.Images(operator=image("o"), trainer=image("t"), store=image("s"))
    values = chart.values(images)
    assert values["image.repository"] == "localhost/o"
    assert values["trainer.image.tag"] == "0123"
    assert values["signing.secretName"] == chart.SIGNING_SECRET
    assert {value for name, value in values.items() if name.endswith("pullPolicy")} == {"Never"}


@pytest.mark.parametrize(
    ("reference", "repository", "tag"),
    [
        pytest.param("ghcr.io/me/operator:1.0", "ghcr.io/me/operator", "1.0", id="plain"),
        pytest.param("localhost:5000/operator:1.0", "localhost:5000/operator", "1.0", id="a registry with a port"),
    ],
)
def test_an_image_is_split_into_the_charts_values(reference: str, repository: str, tag: str):
    assert chart.image_values("image", reference) == {"image.repository": repository, "image.tag": tag}


@pytest.mark.parametrize(
    "reference",
    [
        pytest.param("ghcr.io/me/operator", id="no tag"),
        pytest.param("localhost:5000/operator", id="a port is no tag"),
        pytest.param("operator@sha256:0123", id="a digest"),
        pytest.param("", id="nothing"),
    ],
)
def test_an_image_without_a_tag_is_refused_with_an_example(reference: str):
    with pytest.raises(DevclusterError, match="give an image as repository:tag"):
        chart.image_values("image", reference)


def test_deploy_asks_for_a_cluster(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("KUBECONFIG", raising=False)
    with pytest.raises(DevclusterError, match="KUBECONFIG is not set"):
        chart.deploy(helm=Path("helm"), values={}, arguments=())


def test_tags_stay_text_even_if_they_look_like_numbers():
    command = chart.upgrade_command(helm=Path("helm"), values={"image.tag": "1.0"}, arguments=("--wait",))
    assert "--set-string=image.tag=1.0" in command
    assert command[-1] == "--wait"


@pytest.mark.parametrize(
    ("settings", "bundle", "expected"),
    [
        pytest.param({}, None, (), id="the public index"),
        pytest.param(
            {"index-url": "https://index/simple", "extra-index-url": "https://a/simple\nhttps://b/simple"},
            Path("/ca.crt"),
            (
                "--set-string=environments.index.url=https://index/simple",
                "--set-string=environments.index.extraUrls[0]=https://a/simple",
                "--set-string=environments.index.extraUrls[1]=https://b/simple",
                "--set-file=environments.index.ca=/ca.crt",
            ),
            id="one of one's own",
        ),
    ],
)
def test_builds_of_environments_reach_the_index_as_pip_does(settings, bundle, expected):
    assert chart.index_arguments(settings=settings, bundle=bundle) == expected
