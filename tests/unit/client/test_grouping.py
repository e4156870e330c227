"""The client and the platform group files alike, though neither knows the other's code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from connectors.stores.grouping import find_recordings
from tanada.errors import WrongUseError
from tanada.grouping import find, listed_files

if TYPE_CHECKING:
    from pathlib import Path

BAG = """rosbag2_bagfile_information:
  version: 9
  storage_identifier: mcap
  relative_file_paths:
    - run_0.mcap
    - "run_1.mcap"
  duration:
    nanoseconds: 5
"""
TREES: dict[str, dict[str, str]] = {
    "one file": {"a.mcap": ""},
    "two files": {"a.mcap": "", "b.MCAP": ""},
    "splits": {"run_0.mcap": "", "run_1.mcap": "", "run_10.mcap": "", "run_2.mcap": ""},
    "splits that do not begin": {"run_3.mcap": "", "run_4.mcap": ""},
    "splits of two kinds": {"r_0.mcap": "", "r_1.mcap": "", "r_0.db3": ""},
    "a bag": {"metadata.yaml": BAG, "run_0.mcap": "", "run_1.mcap": ""},
    "a bag and a stranger": {"metadata.yaml": BAG, "run_0.mcap": "", "other.mcap": ""},
    "a bag that lists in one line": {
        "metadata.yaml": (
            "rosbag2_bagfile_information:\n  relative_file_paths: [b.mcap, 'a.mcap']\n"
        ),
        "a.mcap": "",
        "b.mcap": "",
        "c.mcap": "",
    },
    "a bag whose metadata is broken": {"metadata.yaml": "{", "x.mcap": "", "y.mcap": ""},
    "metadata alone": {"metadata.yaml": BAG, "sub/a.mcap": ""},
    "meta.json beside one": {"meta.json": "{}", "a.mcap": ""},
    "meta.json beside two": {"meta.json": "{}", "a.mcap": "", "b.mcap": ""},
    "other files": {"README.md": "", "a.mcap": "", "LICENSE": ""},
    "by content": {"noending": "\x89MCAP0\r\n....", "b": "#ROSBAG V2.0", "c": "SQLite format 3\0"},
    "below": {"x/1/a.mcap": "", "x/2/metadata.yaml": BAG, "x/2/run_0.mcap": "", "x/b.mp4": ""},
}


def plant(top: Path, tree: dict[str, str]) -> None:
    for name, content in tree.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("latin-1"))


@pytest.mark.parametrize("name", TREES)
def test_the_client_groups_as_the_platform_does(tmp_path: Path, name: str) -> None:
    plant(tmp_path, TREES[name])
    ours = [(g.path, g.files, g.sidecars) for g in find([tmp_path], lambda _text: None)]
    theirs = [(c.path, c.files, c.sidecars) for c in find_recordings([tmp_path])]
    assert ours == theirs


def test_links_are_left_at_home(tmp_path: Path) -> None:
    plant(tmp_path, {"in/a.mcap": "", "out/b.mcap": ""})
    (tmp_path / "in" / "link.mcap").symlink_to(tmp_path / "out" / "b.mcap")
    notes: list[str] = []
    groups = find([tmp_path / "in"], notes.append)
    assert [file.name for group in groups for file in group.files] == ["a.mcap"]
    assert len(notes) == 1
    assert "link.mcap" in notes[0]


def test_a_file_named_twice_is_handed_in_once(tmp_path: Path) -> None:
    plant(tmp_path, {"a.mcap": ""})
    assert len(find([tmp_path / "a.mcap", tmp_path], lambda _text: None)) == 1


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(WrongUseError, match="no such file"):
        find([tmp_path / "x"], print)
    with pytest.raises(WrongUseError, match="no recording"):
        find([tmp_path], print)


def test_names_in_the_manifest_are_below_the_recording(tmp_path: Path) -> None:
    plant(tmp_path, {"bag/metadata.yaml": BAG, "bag/run_0.mcap": "", "solo/e\u0301.mcap": ""})
    bag, solo = find([tmp_path], print)
    assert [bag.name_of(path) for path in (*bag.files, *bag.sidecars)] == [
        "run_0.mcap",
        "metadata.yaml",
    ]
    assert solo.name_of(solo.files[0]) == "\u00e9.mcap"


def test_huge_or_foreign_metadata_lists_nothing(tmp_path: Path) -> None:
    plant(tmp_path, {"metadata.yaml": "\xff\xfe"})
    assert listed_files(tmp_path / "metadata.yaml") == []
    assert listed_files(tmp_path / "none.yaml") == []
