"""Log lines: one JSON object or one line of text; no key, password or foreign text in them."""

from __future__ import annotations

import io
import json
import logging

import pytest

from connectors.settings import Settings
from connectors.telemetry.logs import configure, struck
from schemas.errors import CatalogBusyError, WrongUseError

CANARY = "tnd_abc_canary-SECRET_0123456789"


@pytest.fixture(autouse=True)
def _restore():
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], level = before[0], before[1]
    root.setLevel(level)


def logged(form: str, say, level: str = "info") -> str:
    stream = io.StringIO()
    configure(Settings(log_format=form, log_level=level), stream)
    say(logging.getLogger("tanada.test"))
    return stream.getvalue()


def test_a_line_is_one_json_object_with_its_ids():
    text = logged(
        "json",
        lambda log: log.info("did %s", "it\nnow", extra={"request_id": "r1", "status": 200}),
    )
    assert text.count("\n") == 1
    line = json.loads(text)
    assert line["message"] == "did it\nnow"
    assert (line["level"], line["request_id"], line["status"]) == ("info", "r1", 200)
    assert line["at"].endswith("+00:00")


def test_text_stays_on_one_line():
    text = logged("text", lambda log: log.warning("a\nb", extra={"rules": ["x", "y"]}))
    assert text.count("\n") == 1
    assert "a\\nb" in text
    assert 'rules=["x", "y"]' in text


def test_fields_that_are_not_known_stay_out():
    text = logged("json", lambda log: log.info("x", extra={"payload": "blob", "person": "Aiko"}))
    assert "blob" not in text
    assert "Aiko" not in text


@pytest.mark.parametrize("form", ["json", "text"])
def test_keys_and_passwords_are_struck_out(form: str):
    def say(log: logging.Logger) -> None:
        log.info("key %s", CANARY)
        log.info("Authorization: Bearer %s", "abcdef")
        log.info("at %s", "postgresql://tanada:hunter2@db/catalog")
        log.info("x", extra={"route": CANARY})

    text = logged(form, say)
    for secret in (CANARY, "abcdef", "hunter2"):
        assert secret not in text
    assert text.count("***") == 4


def test_an_exception_shows_type_and_place_and_no_foreign_text():
    def foreign() -> None:
        raise ValueError("name = 'Aiko Tanaka'")

    def ours() -> None:
        raise CatalogBusyError("the catalog is busy") from KeyError("Aiko")

    def say(log: logging.Logger) -> None:
        for fail in (foreign, ours):
            try:
                fail()
            except (ValueError, CatalogBusyError):
                log.exception("failed")

    text = logged("json", say)
    first, second = map(json.loads, text.splitlines())
    assert "Aiko" not in text
    assert first["error"]["type"] == "ValueError"
    assert first["error"]["at"][-1].startswith("test_logs.py:")
    assert second["error"]["what"] == "the catalog is busy"
    assert second["error"]["cause"] == "KeyError"


def test_levels_and_formats_are_checked():
    assert not logged("text", lambda log: log.info("quiet"), "warning")
    with pytest.raises(WrongUseError, match="TANADA_LOG_LEVEL"):
        configure(Settings(log_level="loud"))
    with pytest.raises(WrongUseError, match="TANADA_LOG_FORMAT"):
        configure(Settings(log_format="xml"))


def test_plain_text_is_left_alone():
    assert struck("recording 4be0 at 10:30, see http://host/path") == (
        "recording 4be0 at 10:30, see http://host/path"
    )
