import json

import pytest

from connectors.stores.redaction import is_redacted, redact
from schemas.errors import WrongFormatError


def test_only_the_runners_name_goes():
    meta = {
        "schema_version": "2.0",
        "robot": {"type": "hsr", "id": "r1"},
        "runner": {"type": "operator", "organization": "o", "name": "Canary"},
        "programs": [{"name": "teleop"}],
    }
    kept = json.loads(redact(json.dumps(meta).encode(), "meta.json"))
    del meta["runner"]["name"]
    assert kept == meta


@pytest.mark.parametrize(
    "document",
    [
        {"runner": "Canary"},
        {"runner": [{"name": "Canary"}, {"name": "Canary", "type": "operator"}]},
        {"episodes": [{"runner": {"name": "Canary"}}]},
        [{"a": {"runner": {"name": {"first": "Canary"}}}}],
    ],
)
def test_wherever_the_runner_stands_the_name_goes(document):
    assert b"Canary" not in redact(json.dumps(document).encode(), "meta.json")


def test_without_a_name_the_bytes_stay_as_they_came():
    content = b'{ "runner" : {"type":"model"}, "robot": {"name": "r"} }'
    assert redact(content, "meta.json") is content


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 200_000])
def test_what_cannot_be_read_is_refused(content):
    with pytest.raises(WrongFormatError):
        redact(content, "meta.json")


def test_only_meta_json_is_redacted():
    assert is_redacted("a/b/meta.json")
    assert not is_redacted("metadata.yaml")
    assert not is_redacted("xmeta.json")
