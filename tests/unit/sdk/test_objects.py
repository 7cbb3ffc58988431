"""Objects of a namespace over an API server that pages, breaks off and is written to by others."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest

from trainyard.errors import Conflict, NotFound, NotInstalled, Timeout, Unreachable
from trainyard.remote.api import METADATA
from trainyard.remote.objects import Objects, lines_of

PATH = "/apis/trainyard.dev/v1alpha1/namespaces/team/trainingjobs"


class Response:
    def __init__(self, *chunks):
        self.chunks = chunks

    def stream(self, *, amt):
        for chunk in self.chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk


class FakeApi:
    """Gives its answers one after the other, the last one again and again."""

    address = "https://cluster"

    def __init__(self, *answers, watches=()):
        self.answers, self.watches, self.asked, self.begun = list(answers), list(watches), [], []

    def request(self, method, path, **given):
        self.asked.append((method, path.removeprefix(PATH), given))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    @contextmanager
    def stream(self, _method, _path, *, query, **_given):
        self.begun.append(query["resourceVersion"])
        yield self.watches.pop(0)


def event(kind, n=0):
    return json.dumps({"type": kind, "object": version(n, n=n)}).encode() + b"\n"


def at(resource_version, *found):
    return {"items": list(found), "metadata": {"resourceVersion": resource_version}}


def objects(*answers, watches=()):
    api = FakeApi(*answers, watches=watches)
    return Objects(api, namespace="team"), api


def page(*names, more=""):
    return {"items": [{"metadata": {"name": name}} for name in names], "metadata": {"continue": more} if more else {}}


def test_lists_are_read_page_by_page():
    found, api = objects(page("a", "b", more="next"), page("c"))
    assert [one["metadata"]["name"] for one in found.list("trainingjobs")] == ["a", "b", "c"]
    assert [given["query"] for _, _, given in api.asked] == [{"limit": 500}, {"limit": 500, "continue": "next"}]


def test_names_are_asked_for_without_what_is_in_the_objects():
    found, api = objects(page("a", "b"))
    assert found.names("trainingjobs") == ["a", "b"]
    assert api.asked[0][2]["accept"] == METADATA


def test_no_names_are_no_names():
    assert objects({"items": None, "metadata": {}})[0].names("trainingjobs") == []


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([b"a\nb\n"], [b"a", b"b"], id="whole"),
        pytest.param([b"a", b"b\nc", b"\n"], [b"ab", b"c"], id="torn"),
        pytest.param([b"a\n", b"b"], [b"a", b"b"], id="without an end"),
        pytest.param([b"\n\n"], [b"", b""], id="empty ones"),
    ],
)
def test_lines_come_whole(chunks, lines):
    assert list(lines_of(Response(*chunks))) == lines


def test_a_watch_begins_with_what_is_there_and_goes_on_over_lost_connections(monkeypatch):
    monkeypatch.setattr("trainyard.remote.objects.RECONNECT_SECONDS", 0)
    watches = [
        Response(event("MODIFIED", 1), Unreachable("gone")),
        Response(event("ERROR")),
        Response(event("MODIFIED", 4), event("DELETED")),
    ]
    looks = [at("10", version(0, n=0)), at("20", version(2, n=2)), Unreachable("away"), at("30", version(2, n=2))]
    found, api = objects(*looks, watches=watches)
    watch = found.watch("trainingjobs", "a")
    assert [next(watch)["n"] for _ in range(4)] == [0, 1, 2, 4]
    assert api.begun == ["10", "20", "30"]
    with pytest.raises(NotFound, match="trainingjobs/a was deleted"):
        next(watch)
    assert len(api.asked) == len(looks), "it asks once for each watch"


def test_a_watch_hears_of_what_was_deleted_while_it_heard_nothing():
    found, _ = objects(at("10", version(0)), at("20"), watches=[Response()])
    with pytest.raises(NotFound, match="trainingjobs/a was deleted"):
        list(found.watch("trainingjobs", "a"))


def test_a_watch_has_an_end_where_one_is_given():
    found, _ = objects(at("10", version(0)))
    with pytest.raises(Timeout, match="it goes on by itself"):
        list(found.watch("trainingjobs", "a", timeout=0))


def test_a_watch_of_nothing_says_so():
    found, _ = objects(at("10"), NotFound("no such run"))
    with pytest.raises(NotFound, match="no such run"):
        next(found.watch("trainingjobs", "a"))


def version(number, **more):
    return {"metadata": {"resourceVersion": str(number)}, **more}


def test_what_others_write_meanwhile_is_not_lost():
    found, api = objects(version(1, n=1), Conflict("changed"), version(2, n=5), version(3, n=6))
    changed = found.update("trainingjobs", "a", lambda one: {"n": one["n"] + 1})
    assert changed["n"] == 6
    bodies = [given["body"] for method, _, given in api.asked if method == "PATCH"]
    assert bodies == [
        {"n": 2, "metadata": {"resourceVersion": "1"}},
        {"n": 6, "metadata": {"resourceVersion": "2"}},
    ]


def test_nothing_to_change_is_not_written():
    found, api = objects(version(1))
    assert found.update("trainingjobs", "a", lambda _one: None) == version(1)
    assert [method for method, *_ in api.asked] == ["GET"]


def test_somebody_who_writes_all_the_time_does_not_hold_one_up_for_ever():
    api = FakeApi()
    api.request = lambda method, _path, **_: version(1) if method == "GET" else (_ for _ in ()).throw(Conflict("x"))
    with pytest.raises(Conflict, match="changed by others all the time"):
        Objects(api, namespace="team").update("trainingjobs", "a", lambda _one: {"n": 1})


def test_deleting_what_is_gone_is_done():
    objects(NotFound("gone"))[0].delete("trainingjobs", "a")


def test_a_cluster_without_trainyard_is_told():
    with pytest.raises(NotInstalled, match=r"https://cluster does not know trainingjobs of trainyard\.dev"):
        objects(NotFound("page not found"))[0].require_trainyard()
