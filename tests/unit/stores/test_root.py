import json

import pytest

from connectors.stores.root import Root
from schemas.errors import (
    ConflictError,
    DamagedError,
    FailError,
    NotFoundError,
    WrongUseError,
)


def test_a_root_is_made_once_and_opened_again(tmp_path, clock):
    made = Root.create(tmp_path / "lake", clock)
    assert Root.open(tmp_path / "lake") == made
    assert len(made.pepper()) == 64
    assert (made.path / "secret.key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConflictError):
        Root.create(tmp_path / "lake", clock)


def test_a_crash_before_the_marker_can_be_made_good(tmp_path, clock):
    pepper = Root.create(tmp_path, clock).pepper()
    (tmp_path / "tanada.json").unlink()
    assert Root.create(tmp_path, clock).pepper() == pepper


def test_another_format_version_is_refused_with_the_command_that_helps(tmp_path, clock):
    Root.create(tmp_path, clock)
    marker = tmp_path / "tanada.json"
    document = json.loads(marker.read_bytes())
    marker.write_text(json.dumps(document | {"format_version": 0}))
    with pytest.raises(FailError, match="tanada upgrade"):
        Root.open(tmp_path)
    marker.write_text(json.dumps(document | {"format_version": 99}))
    with pytest.raises(FailError, match="newer version of the platform"):
        Root.open(tmp_path)


def test_no_root_and_a_damaged_root_are_told_apart(tmp_path, clock):
    with pytest.raises(NotFoundError, match="tanada init"):
        Root.open(tmp_path)
    root = Root.create(tmp_path, clock)
    (tmp_path / "tanada.json").write_bytes(b"")
    with pytest.raises(DamagedError):
        Root.open(tmp_path)
    (tmp_path / "secret.key").unlink()
    with pytest.raises(DamagedError, match="backup"):
        root.pepper()


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "..", ".hidden", "x\0", "-rf", "a" * 200])
def test_names_that_leave_the_folder_are_refused(tmp_path, clock, name):
    root = Root.create(tmp_path, clock)
    for make in (
        lambda: root.raw("acme", name),
        lambda: root.quarantine(name, "x"),
        lambda: root.release(name, 1),
        lambda: root.table(name),
    ):
        with pytest.raises(WrongUseError):
            make()


def test_an_object_store_is_refused_without_showing_its_address_query(clock):
    with pytest.raises(WrongUseError) as caught:
        Root.create("s3://bucket/prefix?secret=1", clock)
    assert "secret" not in str(caught.value)
