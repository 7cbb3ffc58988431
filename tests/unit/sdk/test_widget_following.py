"""Widgets follow runs in threads of their own: one watch a run, no line twice, and an end with the run or the last widget."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from trainyard.errors import ConfigError, Unreachable
from trainyard.widgets import cluster, hub
from trainyard.widgets.cluster import ClusterSource, PodLog
from trainyard.widgets.details import RunDetails, source_of
from trainyard.widgets.hub import Hub

SECONDS = 120.0
RUNNING = {"metadata": {"name": "digits-1"}, "status": {"phase": "Running"}}
DONE = {"metadata": {"name": "digits-1"}, "status": {"phase": "Completed"}}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(hub, "SPACING_SECONDS", 0.01)
    monkeypatch.setattr(hub, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(hub, "ASKED_SECONDS", 0.1)
    monkeypatch.setattr(cluster, "RECONNECT_SECONDS", 0.01)
    monkeypatch.setattr("trainyard.remote.following.RECONNECT_SECONDS", 0.01)


def until(condition):
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


class Played:
    """A run that does what the test says."""

    def __init__(self, key):
        self.key, self.first, self.over, self.followed, self.left = (
            key,
            RUNNING,
            threading.Event(),
            0,
            threading.Event(),
        )

    def follow(self, hub, stop):
        self.followed += 1
        while not stop.is_set() and not self.over.is_set():
            stop.wait(0.01)
        if self.over.is_set():
            hub.lines(["the last line"])
            hub.job(DONE)
        self.left.set()


class Page:
    """Somebody who looks."""

    def __init__(self):
        self.closed, self.news, self.beats, self.ended = False, [], 0, threading.Event()

    def tell(self, news):
        if news is None:
            self.beats += 1
        else:
            self.news.append(news.message)

    def end(self):
        self.ended.set()


def test_two_widgets_of_a_run_share_one_watch_and_see_the_same():
    run, first, second = Played("shared"), Page(), Page()
    one = Hub.of(run)
    one.listen(first)
    assert Hub.of(Played("shared")) is one
    one.listen(second)
    until(lambda: first.beats and second.beats)
    run.over.set()
    assert first.ended.wait(SECONDS)
    assert second.ended.wait(SECONDS)
    assert run.followed == 1
    assert first.news[-1] == second.news[-1]
    assert one.snapshot()["view"]["status"] == "Completed"
    assert one.snapshot()["log"]["lines"] == ["the last line"]
    # The next one who asks looks anew.
    until(lambda: Hub.of(Played("shared")) is not one)


def test_the_watch_ends_with_the_last_widget():
    run, page = Played("closed"), Page()
    Hub.of(run).listen(page)
    until(lambda: page.beats)
    page.closed = True
    assert run.left.wait(SECONDS)
    assert not page.ended.is_set()


def test_the_watch_goes_on_for_whoever_has_asked_for_it_and_is_slow_to_listen(monkeypatch):
    monkeypatch.setattr(hub, "ASKED_SECONDS", SECONDS)
    rounds, tell = [], Hub._tell
    monkeypatch.setattr(Hub, "_tell", lambda one, **given: rounds.append(1) or tell(one, **given))
    run, first, second = Played("slow to listen"), Page(), Page()
    Hub.of(run).listen(first)
    one = Hub.of(Played("slow to listen"))
    first.closed = True
    seen = len(rounds)
    until(lambda: len(rounds) > seen + 3)
    one.listen(second)
    until(lambda: second.beats)
    run.over.set()
    assert second.ended.wait(SECONDS)
    assert run.followed == 1


def test_the_watch_ends_where_its_widget_is_garbage():
    run, page = Played("garbage"), Page()
    Hub.of(run).listen(page)
    del page
    assert run.left.wait(SECONDS)


def test_somebody_who_comes_late_is_told_that_it_is_over():
    run, page, late = Played("late"), Page(), Page()
    one = Hub.of(run)
    run.over.set()
    one.listen(page)
    assert page.ended.wait(SECONDS)
    one.listen(late)
    assert late.ended.wait(SECONDS)


class Slow(Page):
    """Somebody with whom it takes long to be told."""

    def __init__(self):
        super().__init__()
        self.busy, self.free, self.again = threading.Event(), threading.Event(), threading.Event()

    def tell(self, news):
        super().tell(news)
        if self.busy.is_set():
            self.again.set()
        elif news is not None and news.message["view"].get("ended"):
            self.busy.set()
            self.free.wait(SECONDS)


def test_what_is_said_last_is_told_to_somebody_who_is_slow():
    page = Slow()

    class Quick(Played):
        """It says that it is over, then the rest, and stops its own threads, as a run of a cluster does."""

        def follow(self, hub, stop):
            hub.job(DONE)
            page.busy.wait(SECONDS)
            hub.history([{"metric": "loss", "value": 0.5, "step": 1}])
            stop.set()
            page.free.set()
            # Whoever is told is free before the last word is.
            page.again.wait(SECONDS)

    Hub.of(Quick("slow")).listen(page)
    assert page.ended.wait(SECONDS)
    assert [about["name"] for news in page.news for about in news.get("series", {"of": []})["of"]] == ["loss"]


def test_what_a_page_asks_for_is_no_older_than_what_it_was_told_before():
    pytest.importorskip("anywidget")
    from trainyard.widgets.front import RunWidget

    page, sent = Slow(), []

    class Asked(RunWidget):
        """It notes what is sent in place of sending it."""

        def __init__(self, hub):
            self.hub = hub

        def send(self, content, buffers=None):
            sent.append((content["type"], content["series"]["epoch"]))

    class Ends(Played):
        def follow(self, hub, stop):
            hub.history([{"metric": "loss", "value": 0.5, "step": 1}])
            hub.job(DONE)
            page.free.wait(SECONDS)

    one = Hub.of(Ends("asked"))
    one.listen(page)
    assert page.busy.wait(SECONDS)
    asking = threading.Thread(target=Asked._asked, args=(Asked(one), None, {"type": "hello"}, None))
    asking.start()
    asking.join(0.2)
    # Its answer would come before what it holds already.
    assert sent == []
    page.free.set()
    asking.join(SECONDS)
    assert sent == [("hello", 1)]


def test_a_watch_that_breaks_says_so():
    class Broken(Played):
        def follow(self, hub, stop):
            raise RuntimeError("a bug")

    page = Page()
    one = Hub.of(Broken("broken"))
    one.listen(page)
    assert page.ended.wait(SECONDS)
    assert one.snapshot()["view"]["notes"]["watch"] == "the run is not watched any more: a bug"


class Logs:
    """An API server whose log stream breaks now and then."""

    def __init__(self, *streams):
        self.streams, self.queries, self.done = list(streams), [], threading.Event()

    @contextmanager
    def stream(self, method, path, *, query, seconds):
        self.queries.append(query)
        if not self.streams:
            self.done.set()
            yield Response([])
            return
        yield Response(self.streams.pop(0))


class Response:
    def __init__(self, parts):
        self.parts = parts

    def stream(self, amt):
        for part in self.parts:
            if part is None:
                raise Unreachable("the connection broke")
            yield part


class Lines:
    def __init__(self):
        self.seen, self.begun = [], 0

    def lines(self, lines):
        self.seen += lines

    def new_log(self):
        self.begun += 1


def test_a_log_goes_on_after_a_lost_connection_with_no_line_twice():
    api = Logs(
        [b"2026-11-25T12:00:00.1Z one\n2026-11-25T12:00:00.2Z t", b"wo\n", None],
        [b"2026-11-25T12:00:00.1Z one\n2026-11-25T12:00:00.2Z two\n2026-11-25T12:00:00.3Z <b>three</b>\r\n"],
    )
    heard = Lines()
    log = PodLog(api, namespace="a", hub=heard)
    log.follow("pod-1")
    log.follow("pod-1")
    assert api.done.wait(SECONDS)
    log.finish()
    assert heard.seen == ["one", "two", "<b>three</b>"]
    assert (api.queries[0]["tailLines"], api.queries[1]["sinceTime"]) == (2000, "2026-11-25T12:00:00.2Z")
    assert "sinceTime" not in api.queries[0]
    log.follow("pod-2")
    log.finish()
    assert heard.begun == 1


def test_the_last_lines_of_a_pod_that_has_ended_are_asked_for_again_where_the_connection_is_lost():
    goes_on = threading.Event()

    def broken_at_the_end():
        assert goes_on.wait(SECONDS)
        yield None

    api = Logs(broken_at_the_end(), [None], [b"2026-11-25T12:00:00.1Z the last line\n"])
    heard = Lines()
    log = PodLog(api, namespace="a", hub=heard)
    log.follow("pod-1")
    until(lambda: api.queries)
    threading.Timer(0.05, goes_on.set).start()
    log.finish()
    assert heard.seen == ["the last line"]


class Listings:
    """A gateway whose first listing arrives after the second one would."""

    def __init__(self):
        self.answers, self.asked, self.goes_on = (
            [["logs/000001.txt"], ["logs/train.log"]],
            threading.Event(),
            threading.Event(),
        )

    def files(self, *, area, prefix):
        (path,) = self.answers.pop(0)
        if not self.asked.is_set():
            self.asked.set()
            assert self.goes_on.wait(SECONDS)
        return [{"path": path, "bytes": 1}]


def test_files_that_were_listed_before_the_end_are_not_told_after_those_of_the_end():
    gateway = Listings()
    workspace = SimpleNamespace(objects=None, gateway=gateway, is_local=False)
    run = SimpleNamespace(id="digits-1", uid="u", experiment=SimpleNamespace(workspace=workspace), _job=RUNNING)
    source, told, last = ClusterSource(run), [], threading.Event()
    heard = SimpleNamespace(files=lambda files: told.append(list(files)), note=lambda *_: None, history=lambda _: None)
    log = SimpleNamespace(lines=1)
    before = threading.Thread(target=source._list, args=(heard, 1))
    ending = {**DONE, "status": {**DONE["status"], "jobName": "digits-1-1"}}
    after = threading.Thread(target=lambda: (source._finish(heard, log, ending, threading.Event()), last.set()))
    before.start()
    assert gateway.asked.wait(SECONDS)
    after.start()
    last.wait(0.3)
    gateway.goes_on.set()
    for thread in (before, after):
        thread.join(SECONDS)
    assert told[-1] == ["logs/train.log"]


class Near:
    """A run on this machine."""

    id = "local-1"

    def __init__(self):
        self.status, self.printed, self.logged = "Running", "one\n", {"loss": [3.0, 2.0], "rate": 0.8}

    def get_details(self):
        ended = {"endTimeUtc": "2026-11-25T12:00:09Z"} if self.status == "Completed" else {}
        begun = {"runId": self.id, "status": self.status, "startTimeUtc": "2026-11-25T12:00:00Z", **ended}
        return {**begun, "runDefinition": {"script": "train.py", "parameters": {"rate": 0.8}}}

    def get_metrics(self):
        return self.logged

    def get_logs(self):
        return self.printed

    def get_file_names(self):
        return ["outputs/m.pkl"]


def test_a_run_of_this_machine_is_shown_as_one_of_a_cluster_is(monkeypatch):
    monkeypatch.setattr("trainyard.widgets.polled.POLL_SECONDS", 0.01)
    run, page = Near(), Page()
    one = Hub.of(source_of(run))
    one.listen(page)
    until(lambda: one.snapshot()["log"]["lines"])
    run.printed += "two\n"
    run.status = "Completed"
    assert page.ended.wait(SECONDS)
    whole = one.snapshot()
    assert whole["log"]["lines"] == ["one", "two"]
    assert [(entry["name"], entry["y"]) for entry in whole["series"]["of"]] == [("loss", [3.0, 2.0]), ("rate", [0.8])]
    assert (whole["view"]["status"], whole["view"]["files"]) == ("Completed", [["outputs/m.pkl", -1]])
    assert whole["view"]["facts"] == [["Script", "train.py"], ["Arguments", "--rate 0.8"], ["Compute", "any node"]]


def test_without_a_notebook_a_run_is_printed(capsys):
    RunDetails(Near()).show()
    assert capsys.readouterr().out.startswith("Run local-1 of local: Running\n")


def test_what_is_no_run_is_refused():
    with pytest.raises(ConfigError, match="run_instance is a str: give the run that"):
        RunDetails("digits-1")
