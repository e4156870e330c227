from dataclasses import fields

import pytest

from connectors.settings import SETTINGS, Settings
from schemas.errors import WrongUseError
from schemas.sectors import SECTORS, sector
from schemas.tables import TABLES


def test_the_table_names_every_setting_and_its_default():
    assert {s.name: s.default for s in SETTINGS} == {f.name: f.default for f in fields(Settings)}
    assert all(s.env == f"TANADA_{s.name.upper()}" and s.doc for s in SETTINGS)


def test_flags_come_before_the_environment_and_that_before_defaults():
    environ = {"TANADA_ROOT": "/env", "TANADA_WORKERS": "4", "TANADA_DATABASE_URL": ""}
    settings = Settings.from_environment(environ, root="/flag", workers=None)
    assert (settings.root, settings.workers, settings.lease_seconds) == ("/flag", 4, 300)
    assert settings.database_url is None


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5"])
def test_numbers_must_be_numbers(value):
    with pytest.raises(WrongUseError, match="TANADA_WORKERS"):
        Settings.from_environment({"TANADA_WORKERS": value})


def test_an_unknown_flag_is_wrong_use():
    with pytest.raises(WrongUseError, match="colour"):
        Settings.from_environment({}, colour="red")


def test_keys_and_passwords_are_not_shown():
    environ = {"TANADA_KEY": "tnd_a_canary", "TANADA_DATABASE_URL": "postgresql://u:canary@h/d"}
    settings = Settings.from_environment(environ)
    assert settings.key == "tnd_a_canary"
    assert "canary" not in repr(settings)
    assert "key=***" in repr(settings)
    assert "root='./tanada-data'" in repr(settings)


def test_five_sectors_whose_competitive_fields_exist():
    assert set(SECTORS) == {"restaurant", "food", "medical", "factory", "logistics"}
    columns = {f"{t.name}.{c.name}" for t in TABLES.values() for c in t.columns}
    for entry in SECTORS.values():
        assert "episodes.site" in entry.competitive_fields
        assert entry.competitive_fields <= columns
    with pytest.raises(WrongUseError, match="factory, food, logistics, medical, restaurant"):
        sector("mining")
