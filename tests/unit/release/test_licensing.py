"""Under which terms a release stands, and what is refused or left out."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from connectors.stores.catalog import models, parties
from connectors.stores.catalog.database import reading, writing
from pipelines.release.build import build
from schemas.errors import LicenceError
from schemas.licences import Terms


def published_terms(platform) -> Terms:
    with reading(platform.engine) as connection:
        document = connection.execute(select(models.Release.terms)).scalar_one()
    return Terms.model_validate(document)


def text_of(platform, dataset="arms", version=1) -> str:
    root = platform.root.release(dataset, version)
    return "\n".join((root / name).read_text() for name in ("card.md", "release.json"))


def test_a_release_carries_the_strictest_terms_of_its_contributions(platform, lake):
    lake.organisation("alpha", lake.OPEN_TERMS | {"commercial": "yes"})
    lake.organisation(
        "beta",
        lake.OPEN_TERMS
        | {"purposes_allowed": ["pretraining"], "volume_caps": {"day": {"bytes": 1000}}},
    )
    lake.arm("alpha")
    lake.arm("beta")
    build(platform, lake.recipe())
    terms = published_terms(platform)
    assert [p.value for p in terms.purposes_allowed] == ["pretraining"]
    assert terms.commercial == "no"
    assert terms.volume_caps.day.bytes == 1000


def test_contributors_are_not_named(platform, lake):
    for name in ("alpha", "beta"):
        lake.organisation(name)
        lake.robot(name, f"{name}-arm", "ur5e")
        lake.arm(name, robot=f"{name}-arm")
    build(platform, lake.recipe(filter={"organisations": ["alpha", "beta"]}))
    assert "alpha" not in text_of(platform)
    assert "beta" not in text_of(platform)
    assert "alpha" not in published_terms(platform).label
    root = platform.root.release("arms", 1)
    for path in root.rglob("*"):
        assert not path.is_file() or b"alpha" not in path.read_bytes(), path


def test_contributors_are_named_where_their_terms_ask_for_it(platform, lake):
    text = "Data by Alpha Kitchens K.K."
    lake.organisation(
        "alpha", lake.OPEN_TERMS | {"attribution": {"required": True, "text": [text]}}
    )
    lake.arm("alpha")
    build(platform, lake.recipe())
    assert text in text_of(platform)


def test_a_conflict_is_refused_with_the_pair_named(platform, lake):
    japan = {"storage": ["JP"], "processing": ["JP"]}
    france = {"storage": ["FR"], "processing": ["FR"]}
    for name, territory in (("alpha", japan), ("beta", france), ("gamma", japan)):
        lake.organisation(name, lake.OPEN_TERMS | {"territory": territory})
        lake.arm(name)
    with pytest.raises(
        LicenceError, match=r"alpha-terms version 1.*beta-terms version 1"
    ) as caught:
        build(platform, lake.recipe())
    assert "gamma" not in str(caught.value)
    assert not platform.root.release("arms", 1).exists()
    assert list(platform.root.staging.iterdir()) == []
    assert build(platform, lake.recipe(filter={"organisations": ["alpha", "gamma"]})).created


def test_a_purpose_that_one_contribution_does_not_allow_is_refused(platform, lake):
    lake.organisation("alpha")
    lake.arm("alpha")
    with pytest.raises(LicenceError, match=r"alpha-terms version 1 does not allow.*simulation"):
        build(platform, lake.recipe(purposes=["pretraining", "simulation"]))


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"expires_at": "2026-11-01T00:00:00Z"}, "expired at 2026-11-01"),
        ({"revoked_at": "2026-11-01T00:00:00Z"}, "was revoked"),
        ({"effective_from": "2027-01-01T00:00:00Z"}, "effective only from 2027-01-01"),
    ],
)
def test_what_no_agreement_covers_now_is_left_out_and_said(platform, lake, terms, said):
    lake.organisation("alpha", lake.OPEN_TERMS | terms)
    lake.organisation("beta")
    over = lake.arm("alpha")
    lake.arm("beta", start_ns=lake.START + 1)
    with pytest.raises(LicenceError, match=said):
        build(platform, lake.recipe(), strict=True)
    release = build(platform, lake.recipe())
    assert release.summary["episodes"] == 1
    (left,) = release.left_out
    assert left.recording_id == over.recording
    assert said in left.reason
    assert release.summary["left_out"]["recordings_without_terms"] == 1


def test_a_revoked_agreement_takes_all_its_versions_out(platform, lake):
    lake.organisation("alpha")
    lake.arm("alpha")
    with writing(platform.engine) as connection:
        parties.revoke(connection, "agreement", "alpha-terms", platform.clock)
    with pytest.raises(LicenceError, match="was revoked"):
        build(platform, lake.recipe())


def test_a_contribution_keeps_the_version_it_was_made_under(platform, lake):
    lake.organisation("alpha")
    lake.arm("alpha")
    narrow = Terms.model_validate(lake.OPEN_TERMS | {"purposes_allowed": ["evaluation"]})
    with writing(platform.engine) as connection:
        parties.add_agreement(
            connection,
            organisation="alpha",
            title="new",
            terms=narrow.document(),
            clock=platform.clock,
            agreement="alpha-terms",
        )
    build(platform, lake.recipe())
    assert {p.value for p in published_terms(platform).purposes_allowed} == {
        "pretraining",
        "evaluation",
    }


def test_competitive_fields_are_for_their_owner_only(platform, lake):
    import pyarrow as pa

    fixes = pa.table(
        {
            "t_ns": lake.START + pa.array(range(11)).to_numpy() * 100 * lake.MS,
            "latitude": [35.0] * 11,
        }
    )
    feature = {"table": "nav_sat", "stream": "/fix", "columns": ["latitude"]}
    feature |= {"align": "hold", "max_skew_ms": 100}
    lake.organisation("alpha")
    for organisation in ("acme", "alpha"):
        lake.recording(organisation, streams={("/fix", "nav_sat"): fixes})
    recipe = lake.recipe(features={"latitude": feature}, filter={"organisations": ["alpha"]})
    with pytest.raises(
        LicenceError, match=r"nav_sat.latitude is competitive in the sector factory"
    ):
        build(platform, recipe)
    own = lake.recipe(features={"latitude": feature}, filter={"organisations": ["acme"]})
    assert build(platform, own).created
