"""A path under a root stays there, whatever it is made of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow.errors import ExitCode, UsageError
from flow.targets.base import FileSystemException
from flow.targets.paths import PathEscapes, join_inside, split_url


@pytest.mark.parametrize(
    ("root", "path", "expected"),
    [
        ("/data", "a/b.txt", "/data/a/b.txt"),
        ("/data/", "./a//b.txt", "/data/a/b.txt"),
        ("/", "a", "/a"),
        ("out", "a", "out/a"),
        ("file:///data", "a", "file:///data/a"),
        ("file:///", "a", "file:///a"),
        ("s3://bucket", "a/b", "s3://bucket/a/b"),
        ("s3://bucket/pre/", "a..b/..c", "s3://bucket/pre/a..b/..c"),
        ("s3://", "bucket/a", "s3://bucket/a"),
        ("memory://", "a", "memory://a"),
        ("memory:///", "a", "memory:///a"),
        ("https://host:80/x", "a b", "https://host:80/x/a b"),
        ("/data", "back\\slash", "/data/back\\slash"),
    ],
)
def test_relative_path_is_joined_below_its_root(root, path, expected):
    assert join_inside(root, path) == expected


@pytest.mark.parametrize("root", ["/data", "file:///data", "s3://bucket/pre", "smb://host/share"])
@pytest.mark.parametrize(
    "path",
    ["..", "../x", "a/../../x", "a/..", "/etc/passwd", "s3://other/x", "", ".", "./", "a\0b"],
)
def test_path_that_leaves_its_root_is_refused_by_name(root, path):
    with pytest.raises(PathEscapes) as caught:
        join_inside(root, path)
    assert repr(path) in str(caught.value)
    assert caught.value.hint
    assert caught.value.exit_code is ExitCode.USAGE
    assert isinstance(caught.value, FileSystemException)


@pytest.mark.parametrize("path", ["a\\..\\..\\x", "\\\\host\\x", "%2e%2e/x", "a/%2E./x", "..%2fx"])
def test_spellings_that_only_servers_understand_are_refused_for_urls(path):
    with pytest.raises(PathEscapes):
        join_inside("https://host/x", path)


def test_link_out_of_a_directory_is_refused_and_one_inside_is_followed(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "root-evil"
    (root / "real").mkdir(parents=True)
    elsewhere.mkdir()
    (root / "out").symlink_to(elsewhere)
    (root / "in").symlink_to(root / "real")
    for each in (str(root), f"file://{root}", root):
        with pytest.raises(PathEscapes, match=r"a link in it leads to .*root-evil"):
            join_inside(each, "out/x")
        assert join_inside(each, "in/x").endswith("/in/x")


def test_root_that_is_a_link_is_a_root_like_any_other(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert join_inside(tmp_path / "link", "x") == str(tmp_path / "link" / "x")


def test_missing_root_or_wrong_type_is_said():
    with pytest.raises(UsageError, match="root of a path is empty"):
        join_inside("", "x")
    with pytest.raises(PathEscapes, match="not int"):
        join_inside("/data", 5)  # type: ignore[arg-type]


@given(st.text("a.%2eE/\\:", max_size=12))
def test_no_path_ever_leaves_its_root(path):
    for root in ("/data/root", "s3://bucket/root"):
        try:
            found = join_inside(root, path)
        except PathEscapes:
            continue
        assert found.startswith(root + "/")
        assert ".." not in found[len(root) :].split("/")


def test_url_is_split_at_its_scheme_and_paths_have_none():
    assert split_url("S3://b/x") == ("s3", "b/x")
    assert split_url("/a://b") == ("", "/a://b")
    assert split_url("C:/x") == ("", "C:/x")
