"""The calls that scripts written for Azure ML make, and what each leaves behind."""

from __future__ import annotations

import contextlib
import io
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainyard import Run, contract
from trainyard.history import metrics_of
from trainyard.record import check_model, check_tags, outputs_path
from trainyard.sinks import FileSink, OfflineSink


@pytest.fixture
def outputs(monkeypatch, tmp_path):
    """The folder whose files are saved."""
    folder = tmp_path / "outputs"
    monkeypatch.setenv(contract.ENV_OUTPUTS, str(folder))
    return folder


@pytest.fixture
def path(tmp_path):
    """The file that the runner follows."""
    return tmp_path / "metrics.jsonl"


@pytest.fixture
def run(outputs, path):
    """A run inside a pod."""
    return Run(run_id="u-1", name="mnist", experiment="digits", sink=FileSink(str(path)))


def entries(path):
    """Return what was written, without the times."""
    return [{k: v for k, v in json.loads(line).items() if k != "time"} for line in path.read_text().splitlines()]


CALLS = [
    pytest.param(
        lambda run: run.log("a", 1, "a number", 3),
        {"metric": "a", "value": 1, "step": 3, "description": "a number"},
        1,
        id="log with description and step",
    ),
    pytest.param(lambda run: run.log_list("a", [1, 2.5]), {"list": "a", "values": [1, 2.5]}, [1, 2.5], id="list"),
    pytest.param(
        lambda run: run.log_list("a", np.array([1, math.nan])),
        {"list": "a", "values": [1.0, "NaN"]},
        pytest.approx([1, math.nan], nan_ok=True),
        id="array",
    ),
    pytest.param(
        lambda run: run.log_list("a", (n for n in range(2))), {"list": "a", "values": [0, 1]}, [0, 1], id="generator"
    ),
    pytest.param(lambda run: run.log_list("a", []), {"list": "a", "values": []}, [], id="empty list"),
    pytest.param(
        lambda run: run.log_row("a", epoch=1, kind="x", loss=np.float32(0.5)),
        {"row": "a", "values": {"epoch": 1, "kind": "x", "loss": 0.5}},
        {"epoch": 1, "kind": "x", "loss": 0.5},
        id="row",
    ),
    pytest.param(
        lambda run: run.log_table("a", {"x": [1, 2], "y": np.array([3, 4])}, "both"),
        {"table": "a", "columns": {"x": [1, 2], "y": [3, 4]}, "description": "both"},
        {"x": [1, 2], "y": [3, 4]},
        id="table",
    ),
    pytest.param(
        lambda run: run.log_table("a", {"x": [1]}), {"table": "a", "columns": {"x": [1]}}, {"x": [1]}, id="one row"
    ),
    pytest.param(lambda run: run.tag("ready"), {"tags": {"ready": ""}}, None, id="tag without a value"),
    pytest.param(lambda run: run.tag("n", 7), {"tags": {"n": "7"}}, None, id="tag with a number"),
    pytest.param(lambda run: run.set_tags({"a": "b", "c": None}), {"tags": {"a": "b", "c": ""}}, None, id="tags"),
    pytest.param(lambda run: run.add_properties({"a": "b"}), {"properties": {"a": "b"}}, None, id="properties"),
    pytest.param(
        lambda run: run.register_model("m", "m.pkl", tags={"k": 1}, description="best", properties={"p": 2}),
        {
            "model": {
                "name": "m",
                "path": "outputs/m.pkl",
                "description": "best",
                "tags": {"k": "1", "property/p": "2"},
            }
        },
        None,
        id="model",
    ),
    pytest.param(
        lambda run: run.register_model("m.pkl"),
        {"model": {"name": "m.pkl", "path": "outputs/m.pkl"}},
        None,
        id="by name",
    ),
    pytest.param(
        lambda run: run.fail("no data", 7), {"fail": {"message": "no data (7)"}}, None, id="fail with details and code"
    ),
    pytest.param(lambda run: run.fail(), {"fail": {"message": "the script called Run.fail"}}, None, id="fail"),
    pytest.param(lambda run: run.complete(), {"fail": None}, None, id="complete"),
]


@pytest.mark.parametrize(("call", "written", "metric"), CALLS)
def test_a_call_writes_one_line_and_gives_its_metric_back(run, path, call, written, metric):
    call(run)
    assert entries(path) == [written]
    assert run.get_metrics() == ({} if metric is None else {"a": metric})
    assert run.get_metrics("nothing") == {}


REFUSED = [
    pytest.param(lambda run: run.log("a", 1, 3), TypeError, "the description of metric 'a' is of type int", id="step"),
    pytest.param(lambda run: run.log_list("a", 1), TypeError, "list 'a' is of type int", id="no list"),
    pytest.param(lambda run: run.log_list("a", "12"), TypeError, "list 'a' is of type str", id="text as a list"),
    pytest.param(lambda run: run.log_list("a", ["x"]), TypeError, "list 'a' is of type str", id="text in a list"),
    pytest.param(lambda run: run.log_row("a"), TypeError, "row 'a' has no columns", id="no columns"),
    pytest.param(
        lambda run: run.log_row("a", x=[1]), TypeError, "column 'x' of 'a' is of type list", id="list in a row"
    ),
    pytest.param(lambda run: run.log_table("a", [1]), TypeError, "table 'a' is of type list", id="no table"),
    pytest.param(lambda run: run.log_table("a", {"x": [1], "y": []}), ValueError, "different lengths", id="ragged"),
    pytest.param(lambda run: run.tag("a", "x" * 257), ValueError, "have at 'a' 257 characters", id="long tag"),
    pytest.param(lambda run: run.tag("", 1), ValueError, "tags have the name", id="empty key"),
    pytest.param(lambda run: run.tag("a", [1]), ValueError, "have at 'a' a value of type list", id="list as a tag"),
    pytest.param(lambda run: run.set_tags(["a"]), ValueError, "tags are of type list", id="tags as a list"),
    pytest.param(
        lambda run: run.set_tags({str(n): "" for n in range(33)}), ValueError, "at most 32", id="too many at once"
    ),
    pytest.param(
        lambda run: run.register_model("m", "x", tags=[1]), ValueError, "give a dictionary", id="model's tags"
    ),
    pytest.param(
        lambda run: run.register_model("m", "x", properties=[1]),
        ValueError,
        "give a dictionary",
        id="model's properties",
    ),
    pytest.param(lambda run: run.register_model("a b", "x"), ValueError, "the name of the model", id="model's name"),
    pytest.param(lambda run: run.register_model("m", "../x"), ValueError, "it must stay inside", id="path that climbs"),
    pytest.param(lambda run: run.register_model("m", "/etc/x"), ValueError, "absolute", id="absolute path"),
    pytest.param(lambda run: run.log_image("a"), TypeError, "exactly one of path and plot", id="no image"),
    pytest.param(lambda run: run.log_image("a", plot=1), TypeError, "has no savefig", id="no plot"),
    pytest.param(lambda run: run.upload_folder("a", "/nowhere"), NotADirectoryError, "is no folder", id="no folder"),
    pytest.param(lambda run: run.upload_files(["a"], []), ValueError, "1 names and 0 paths", id="names and paths"),
]


@pytest.mark.parametrize(("call", "kind", "words"), REFUSED)
def test_a_call_that_makes_no_sense_is_refused_and_writes_nothing(run, path, call, kind, words):
    with pytest.raises(kind, match=words):
        call(run)
    assert entries(path) == []


def test_more_tags_than_a_run_may_have_are_refused(run):
    for number in range(32):
        run.tag(f"k{number}")
    run.tag("k0", "again")
    with pytest.raises(ValueError, match="the run has 32 tags, and may have 32 at most"):
        run.tag("one more")


def test_repeated_calls_become_lists(run):
    for number in range(3):
        run.log("loss", number)
        run.log_row("row", epoch=number, loss=number / 2)
    run.log_list("list", [1])
    run.log_list("list", [2, 3])
    run.log_table("table", {"x": [1]})
    run.log_table("table", {"x": [2]})
    run.log("once", 1)
    assert run.get_metrics() == {
        "loss": [0, 1, 2],
        "row": {"epoch": [0, 1, 2], "loss": [0.0, 0.5, 1.0]},
        "list": [1, 2, 3],
        "table": {"x": [1, 2]},
        "once": 1,
    }


def test_long_lists_and_tables_become_lines_that_the_runner_reads(run, path):
    run.log_list("list", range(50_000))
    run.log_table("table", {f"c{n}": ["x" * 256] * 2500 for n in range(10)})
    assert max(map(len, path.read_bytes().splitlines())) < 1 << 20
    assert run.get_metrics("list") == {"list": list(range(50_000))}
    assert len(run.get_metrics("table")["table"]["c9"]) == 2500


def test_tags_and_properties_are_those_of_all_processes(run, path):
    other = Run(run_id="", name="", experiment="", sink=FileSink(str(path)))
    other.tag("who", "other")
    run.tag("who", "me")
    other.add_properties({"fixed": 1})
    with path.open("ab") as file:
        file.write(b"not JSON\n[1]\n")
    assert run.get_tags() == run.tags == {"who": "me"}
    assert run.get_properties() == run.properties == {"fixed": "1"}
    with pytest.raises(ValueError, match="property 'fixed' is '1' already and cannot be changed"):
        run.add_properties({"fixed": 2})


def test_images_get_places_of_their_own_below_outputs(run, path, outputs, tmp_path):
    class Figure:
        def savefig(self, target, **options):
            target.write_bytes(b"png of " + options["format"].encode())

    (tmp_path / "photo.jpg").write_bytes(b"jpg")
    run.log_image("ROC / test", plot=Figure(), description="the curve")
    run.log_image("ROC / test", plot=Figure())
    run.log_image("photo", path=str(tmp_path / "photo.jpg"))
    assert [entry["path"] for entry in entries(path)] == [
        "outputs/images/ROC_test.png",
        "outputs/images/ROC_test-2.png",
        "outputs/images/photo.jpg",
    ]
    assert (outputs / "images" / "ROC_test.png").read_bytes() == b"png of png"
    assert run.get_metrics()["photo"] == "outputs/images/photo.jpg"
    assert run.get_file_names() == sorted(entry["path"] for entry in entries(path))


def test_a_plot_of_matplotlib_is_kept_as_png(run, outputs):
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    plt.plot([1, 2])
    run.log_image("curve", plot=plt)
    plt.close("all")
    assert (outputs / "images" / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_that_cannot_be_drawn_leaves_nothing(run, path, outputs):
    class Broken:
        def savefig(self, target, **options):
            raise RuntimeError("no fonts")

    with pytest.raises(RuntimeError, match="no fonts"):
        run.log_image("curve", plot=Broken())
    assert entries(path) == []
    assert run.get_file_names() == []


@pytest.mark.parametrize("value", [{"data": {"matrix": [[1]]}}, '{"data": {"matrix": [[1]]}}'])
@pytest.mark.parametrize("call", ["log_confusion_matrix", "log_accuracy_table"])
def test_documents_are_kept_as_json(run, outputs, call, value):
    getattr(run, call)("matrix", value)
    assert json.loads((outputs / "documents" / "matrix.json").read_text()) == {"data": {"matrix": [[1]]}}
    assert run.get_metrics() == {"matrix": "outputs/documents/matrix.json"}


def test_uploaded_files_are_put_among_the_outputs(run, outputs, tmp_path):
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    (tmp_path / "folder" / "sub" / "b.txt").write_text("b")
    run.upload_file("outputs/a.txt", tmp_path / "a.txt")
    run.upload_file("model.pkl", io.BytesIO(b"model"))
    run.upload_folder("data", tmp_path / "folder")
    run.upload_file("outputs/a.txt", outputs / "a.txt")  # where it is already
    assert run.get_file_names() == ["outputs/a.txt", "outputs/data/sub/b.txt", "outputs/model.pkl"]
    with pytest.raises(FileExistsError, match=r"the run has a file outputs/model\.pkl already"):
        run.upload_file("model.pkl", tmp_path / "a.txt")
    assert (outputs / "model.pkl").read_bytes() == b"model"


def test_a_run_tells_who_it_is_in_azure_s_words(run):
    run.tag("a", "b")
    details = run.get_details()
    assert (details["runId"], details["status"], details["tags"]) == ("u-1", "Running", {"a": "b"})
    assert run.experiment.name == run.experiment == "digits"
    assert str(run).startswith("Run(Experiment: digits,\nId: u-1,")
    model = run.register_model("m", "outputs/m.pkl")
    assert repr(model) == "Model(name='m', path='outputs/m.pkl')"
    run.flush()


def test_every_call_works_offline_and_says_what_it_was_told(outputs, tmp_path, capsys):
    run = Run(run_id="offline-1", name="train.py", experiment="default", sink=OfflineSink())
    for call, _, _ in (parameter.values for parameter in CALLS):
        call(run)
    (tmp_path / "p.png").write_bytes(b"")
    run.log_image("image", path=str(tmp_path / "p.png"))
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(CALLS) + 1
    assert "model m: outputs/m.pkl (models are registered by runs in a cluster only)" in printed
    assert "failed: no data (7)" in printed
    assert "tags: a=b, c" in printed
    assert run.get_metrics()["image"] == "outputs/images/image.png"
    assert run.get_tags()["n"] == "7"


def test_azure_s_first_name_for_the_context_is_the_same_run(monkeypatch, path):
    monkeypatch.setattr(Run, "_current", None)
    monkeypatch.setenv(contract.ENV_METRICS_FILE, str(path))
    assert Run.get_submitted_run() is Run.get_context()


PATHS = [
    pytest.param("outputs/m.pkl", "outputs/m.pkl", id="as it is"),
    pytest.param("./outputs/m", "outputs/m", id="with a dot"),
    pytest.param("m.pkl", "outputs/m.pkl", id="without the folder"),
    pytest.param("outputs", "outputs", id="all of it"),
    pytest.param("outputs/", "outputs", id="with a slash at its end"),
    pytest.param("outputs2/m", "outputs/outputs2/m", id="a neighbour"),
]


@pytest.mark.parametrize(("path", "expected"), PATHS)
def test_a_path_means_a_place_among_the_outputs(path, expected):
    assert outputs_path(path, what="path") == expected


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(ANYTHING)
def test_whatever_is_no_tags_and_no_model_is_refused_by_a_value_error(value):
    for check in (lambda: check_tags(value, what="tags"), lambda: check_model(value)):
        with contextlib.suppress(ValueError):
            contract.canonical_json(check())


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers()), max_size=20))
def test_metrics_come_back_in_the_order_in_which_they_were_logged(pairs):
    found = metrics_of([{"metric": name, "value": value} for name, value in pairs])
    for name in "ab":
        values = [value for key, value in pairs if key == name]
        assert found.get(name) == (values if len(values) > 1 else next(iter(values), None))


def test_saving_a_checkpoint_returns_at_once_offline_and_says_so_where_nobody_saves(monkeypatch, tmp_path):
    monkeypatch.delenv("TRAINYARD_CHECKPOINT_DIR", raising=False)
    run = Run.get_context()
    run.save_checkpoint()
    monkeypatch.setenv("TRAINYARD_CHECKPOINT_DIR", str(tmp_path))
    with pytest.raises(TimeoutError, match="goes on trying"):
        run.save_checkpoint(timeout_seconds=0)
    assert [path.name for path in tmp_path.iterdir()] == ["save.now"]
