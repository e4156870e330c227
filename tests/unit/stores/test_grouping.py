import shutil

import pytest

from connectors.stores.grouping import find_recordings
from schemas.errors import NotFoundError, WrongUseError

MCAP = b"\x89MCAP0\r\n"


def shapes(candidates):
    return {
        c.path.name: ([f.name for f in c.files], [s.name for s in c.sidecars]) for c in candidates
    }


def test_bags_splits_and_single_files_of_rosbag2(samples):
    found = find_recordings([samples / "robot/rosbag2/rosbag2_py/test/resources/mcap"])
    splits = [f"multiple_files_{n}.mcap" for n in range(3)]
    assert shapes(found) == {
        "convert_a": (["rewriter_a_0.mcap"], ["metadata.yaml"]),
        "convert_b": (["rewriter_b_0.mcap"], ["metadata.yaml"]),
        "multiple_files_0.mcap": (splits, []),
        "talker": (["talker.mcap"], ["metadata.yaml"]),
        "wbag": ([f"wbag_{n}.mcap" for n in range(5)], ["metadata.yaml"]),
    }


def test_files_without_metadata_are_one_recording_each(samples):
    notes = []
    found = find_recordings([samples / "robot/ros1_bags"], notes.append)
    assert all(len(c.files) == 1 for c in found)
    assert {c.path.name for c in found} >= {"example.bag", "empty-file.bag", "no-messages.bag"}


def test_licences_and_companions_of_databases_are_left_out_and_said(samples):
    notes = []
    found = find_recordings([samples / "bad/rosbag2"], notes.append)
    assert {c.path.name for c in found} == {"wrong_rmw_test_0.mcap", "empty_bag_0.db3"}
    assert {n.split(":")[0].rsplit("/", 1)[1] for n in notes} == {
        "empty_bag_0.db3-shm",
        "empty_bag_0.db3-wal",
    }


def test_a_file_that_is_named_is_taken_whatever_its_ending(tmp_path):
    path = tmp_path / "LICENSE"
    path.write_bytes(b"text")
    assert [c.files for c in find_recordings([path])] == [(path,)]


def test_content_makes_a_recording_of_a_file_with_another_ending(tmp_path):
    (tmp_path / "capture").write_bytes(MCAP + bytes(10))
    (tmp_path / "notes.txt").write_bytes(b"x")
    assert [c.path.name for c in find_recordings([tmp_path])] == ["capture"]


def test_splits_are_ordered_by_number_and_need_a_first_one(tmp_path):
    for name in ("a_0", "a_2", "a_10", "b_1", "b_2"):
        (tmp_path / f"{name}.mcap").write_bytes(MCAP)
    assert shapes(find_recordings([tmp_path])) == {
        "a_0.mcap": (["a_0.mcap", "a_2.mcap", "a_10.mcap"], []),
        "b_1.mcap": (["b_1.mcap"], []),
        "b_2.mcap": (["b_2.mcap"], []),
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a",
        "rosbag2_bagfile_information: {relative_file_paths: [other.mcap]}",
        "rosbag2_bagfile_information: 7",
        "{{{",
        "\x00",
    ],
)
def test_metadata_that_says_nothing_useful_takes_all_files_of_its_folder(tmp_path, text):
    for name in ("x.mcap", "y.mcap"):
        (tmp_path / name).write_bytes(MCAP)
    (tmp_path / "metadata.yaml").write_text(text)
    (found,) = find_recordings([tmp_path])
    assert [f.name for f in found.files] == ["x.mcap", "y.mcap"]


def test_a_file_that_metadata_does_not_list_is_a_recording_of_its_own(samples, tmp_path):
    bag = tmp_path / "talker"
    shutil.copytree(samples / "robot/rosbag2/rosbag2_py/test/resources/mcap/talker", bag)
    (bag / "extra.mcap").write_bytes(MCAP)
    assert shapes(find_recordings([tmp_path])) == {
        "talker": (["talker.mcap"], ["metadata.yaml"]),
        "extra.mcap": (["extra.mcap"], []),
    }


def test_the_same_file_named_twice_is_one_recording(tmp_path):
    path = tmp_path / "a.mcap"
    path.write_bytes(MCAP)
    assert len(find_recordings([path, tmp_path, path])) == 1


def test_links_are_not_followed(tmp_path):
    outside = tmp_path / "outside"
    inside = tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "secret.mcap").write_bytes(MCAP)
    (inside / "link.mcap").symlink_to(outside / "secret.mcap")
    (inside / "folder").symlink_to(outside)
    (inside / "own.mcap").write_bytes(MCAP)
    notes = []
    assert [c.path.name for c in find_recordings([inside], notes.append)] == ["own.mcap"]
    assert any("link.mcap" in n for n in notes)


def test_nothing_to_hand_in_is_wrong_use(tmp_path):
    with pytest.raises(WrongUseError, match="no recording"):
        find_recordings([tmp_path])
    with pytest.raises(NotFoundError):
        find_recordings([tmp_path / "none"])
