import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.storage.memory import MemoryStore
from trainyard_operator.storage.listing import UnusableNameError, find, top_level

ROOT = "data/team-a/"
OBJECTS = {
    f"{ROOT}mnist/": b"",
    f"{ROOT}mnist/test.gz": b"12",
    f"{ROOT}mnist/deep/train.gz": b"123",
    f"{ROOT}mnist-private/secret": b"s",
    f"{ROOT}mnist.csv": b"csv",
    f"{ROOT}iris": b"iris",
    "data/team-ab/mnist/other": b"o",
}


async def names(path, **over):
    return [file.path for file in (await find(MemoryStore(OBJECTS), root=ROOT, path=path, **over)).files]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        pytest.param(
            "",
            ["iris", "mnist-private/secret", "mnist.csv", "mnist/deep/train.gz", "mnist/test.gz"],
            id="everything-of-the-namespace",
        ),
        pytest.param("mnist", ["deep/train.gz", "test.gz"], id="a-folder-without-a-slash"),
        pytest.param("mnist/", ["deep/train.gz", "test.gz"], id="a-folder"),
        pytest.param("mnist/deep", ["train.gz"], id="a-deep-folder"),
        pytest.param("mnist/test.gz", ["test.gz"], id="an-object-keeps-its-own-name"),
        pytest.param("mnist.csv", ["mnist.csv"], id="an-object-at-the-top"),
        pytest.param("mni", [], id="part-of-a-name"),
        pytest.param("iris/", [], id="an-object-is-no-folder"),
    ],
)
async def test_a_path_means_an_object_or_a_folder_and_no_neighbour(path, found):
    assert await names(path) == found


async def test_pages_join_without_gap_or_repeat():
    store, after, seen = MemoryStore({f"{ROOT}x/{n:03}": b"" for n in range(25)}), "", []
    for _ in range(3):
        page = await find(store, root=ROOT, path="x", after=after, limit=10)
        seen += [file.path for file in page.files]
        after = page.next or ""
    assert seen == [f"{n:03}" for n in range(25)]
    assert page.next is None


async def test_an_object_alone_has_one_page():
    assert await names("mnist.csv", after="mnist.csv") == []


@pytest.mark.parametrize("name", ["a//b", "../x", "a/./b", "a\nb", "/x"])
async def test_an_object_that_could_not_be_a_file_is_named(name):
    with pytest.raises(UnusableNameError) as error:
        await find(MemoryStore({f"{ROOT}x/{name}": b""}), root=ROOT, path="x")
    assert repr(f"{ROOT}x/{name}") in str(error.value)


async def test_the_top_level_is_ten_names_at_most():
    assert await top_level(MemoryStore(OBJECTS), ROOT) == ("iris", "mnist-private/", "mnist.csv", "mnist/")
    many = MemoryStore({f"{ROOT}{n:02}/x": b"" for n in range(30)})
    assert await top_level(many, ROOT) == tuple(f"{n:02}/" for n in range(10))


@given(
    keys=st.sets(st.text(alphabet="ab/-.", min_size=1, max_size=6)),
    path=st.text(alphabet="ab/-", max_size=4).filter(lambda p: "//" not in p and not p.startswith("/")),
)
async def test_only_what_is_the_path_or_below_it_is_found(keys, path):
    store = MemoryStore({ROOT + key: b"" for key in keys} | {"data/team-b/" + key: b"" for key in keys})
    try:
        page = await find(store, root=ROOT, path=path)
    except UnusableNameError:
        return
    folder = path.rstrip("/") + "/" if path else ""
    for file in page.files:
        key = file.info.key.removeprefix(ROOT)
        assert key in keys
        assert key == path or key.startswith(folder)
