import pytest

from trainyard_operator.storage import layout


@pytest.mark.parametrize(
    ("made", "key"),
    [
        pytest.param(layout.data_prefix("team-a"), "data/team-a/", id="datastore"),
        pytest.param(layout.run_prefix("team-a", "u1"), "runs/team-a/u1/", id="run"),
        pytest.param(layout.attempt_prefix("team-a", "u1", 2), "runs/team-a/u1/attempts/2/", id="attempt"),
        pytest.param(layout.source_key("team-a", "u1"), "runs/team-a/u1/source.tar.gz", id="source"),
        pytest.param(
            layout.run_manifest_key("team-a", "u1", 2), "runs/team-a/u1/attempts/2/manifest.json", id="run-manifest"
        ),
        pytest.param(layout.version_prefix("team-a", "m", 3), "models/team-a/m/3/", id="version"),
        pytest.param(layout.model_manifest_key("team-a", "m", 3), "models/team-a/m/3.manifest.json", id="manifest"),
        pytest.param(layout.uri("b", "data/x"), "s3://b/data/x", id="uri"),
    ],
)
def test_the_layout_of_the_bucket_stays_what_it_is_because_stored_objects_do(made, key):
    assert made == key


def test_no_file_of_a_model_can_take_the_place_of_its_manifest():
    files = layout.version_prefix("n", "m", 1)
    assert not layout.model_manifest_key("n", "m", 1).startswith(files)
    assert not layout.model_manifest_key("n", "m", 1).startswith(layout.version_prefix("n", "m", 11))
