"""Files and folders mean the same on local disk and in an object store."""

import os
import pickle

import pytest

from raydg.storage import Place, stat


def test_a_place_is_what_its_path_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = Place.at("data") / "a/b.tar.png"
    assert (
        str(place) == f"{tmp_path}/data/a/b.tar.png" == str(Place.at(f"file://{tmp_path}/data") / "./a/" / "b.tar.png")
    )
    assert (place.name, place.stem, str(place.parent)) == ("b.tar.png", "b.tar", f"{tmp_path}/data/a")
    assert Place.at(tmp_path / "data/a/../a/b.tar.png") == place == Place.at(place)
    assert pickle.loads(pickle.dumps(place)) == place and len({place, Place.at(str(place))}) == 1


def test_escaped_characters_mean_what_they_stand_for(tmp_path):
    assert Place.at(f"file://{tmp_path}/a%20b") == Place.at(tmp_path / "a b")
    assert (Place.at("s3://bucket/my%20data?region=x") / "gtav").key == "bucket/my data/gtav"


def test_object_stores_hide_what_is_secret():
    place = Place.at("s3://key:secret@bucket/data/?endpoint_override=localhost:9&scheme=http&region=x") / "gtav"
    assert str(place) == "s3://bucket/data/gtav" and place.key == "bucket/data/gtav"
    assert place.parent == Place.at("s3://key:secret@bucket/data?endpoint_override=localhost:9&scheme=http&region=x")


@pytest.mark.parametrize("location", ["ftp://host/data", "s3://bucket/data?endpoint=x"])
def test_what_pyarrow_cannot_open_is_refused(location):
    with pytest.raises(ValueError, match=rf"^{location.partition('/data')[0]}.*cannot be used: .*s3://, gs://"):
        Place.at(location)


def behaves(root: Place) -> None:
    """What every store must do."""
    assert root.files() == {} and root.folders() == [] and not (root / "a").is_file()
    (root / "a/b/1.txt").write_bytes(b"one")
    (root / "a/2.txt").write_bytes(b"second")
    (root / "3.txt").write_bytes(b"")
    assert list(root.files()) == ["3.txt", "a/2.txt", "a/b/1.txt"] and list(root.files(recursive=False)) == ["3.txt"]
    assert root.folders() == ["a"] and (root / "a").is_dir() and not (root / "a/2.txt").is_dir()
    assert (root / "a/2.txt").read_text() == "second" and root.files()["a/2.txt"].size == 6
    sizes = [
        info and info.size for info in stat([root / "a/b/1.txt", root / "a/4.txt", root / "3.txt", root / "c/5.txt"])
    ]
    assert sizes == [3, None, 0, None]
    (root / "a/2.txt").write_bytes(b"new")
    assert (root / "a/2.txt").read_bytes() == b"new"
    with pytest.raises(RuntimeError), (root / "a/6.txt").writing() as stream:
        stream.write(b"half")
        raise RuntimeError
    assert not (root / "a/6.txt").is_file() and list(root.files()) == ["3.txt", "a/2.txt", "a/b/1.txt"]
    (root / "3.txt").remove()
    (root / "3.txt").remove()
    assert list(root.files()) == ["a/2.txt", "a/b/1.txt"]
    with pytest.raises(OSError, match=r"3\.txt"):
        (root / "3.txt").read_bytes()


def test_local_disk(tmp_path):
    behaves(Place.at(tmp_path / "root"))


def test_an_object_store(s3: str):
    behaves(Place.at(s3) / "root")


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path):
    place = Place.at(tmp_path / "file")
    place.write_bytes(b"old")
    with place.writing() as stream:
        stream.write(b"new")
        stream.flush()
        assert place.read_bytes() == b"old"
    assert place.read_bytes() == b"new" and os.listdir(tmp_path) == ["file"]


def test_links_are_followed(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there/1.txt").write_text("1")
    (tmp_path / "here").mkdir()
    (tmp_path / "here/link").symlink_to(tmp_path / "there")
    assert list(Place.at(tmp_path / "here").files()) == ["link/1.txt"]
