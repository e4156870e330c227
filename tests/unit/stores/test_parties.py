import pytest

from connectors.stores.catalog import parties
from connectors.stores.catalog.database import reading, writing
from connectors.stores.catalog.models import Base
from schemas.errors import ConflictError, NotFoundError, UnauthenticatedError, WrongUseError

TERMS = {"purposes_allowed": ["pretraining"]}


@pytest.fixture
def partner(platform):
    """Organisation `beta` with a member and a key: (member, key)."""
    with writing(platform.engine) as connection:
        parties.add_organisation(connection, name="Beta", clock=platform.clock)
        member = parties.add_member(
            connection, organisation="beta", name="m", roles=["partner"], clock=platform.clock
        )
        key = parties.issue_key(connection, member, platform.root.pepper(), platform.clock)
    return member, key


def who(platform, key, at_ns=None):
    with reading(platform.engine) as connection:
        return parties.authenticate(
            connection, key, platform.root.pepper(), at_ns or platform.clock()
        )


def everything(platform):
    """All that the database holds, as text: SQLite's file, or every row of every table."""
    files = [p.read_bytes().decode("latin-1") for p in platform.root.path.glob("catalog.db*")]
    with reading(platform.engine) as connection:
        tables = Base.metadata.sorted_tables
        rows = [repr(connection.execute(table.select()).all()) for table in tables]
    return "\n".join(files + rows)


def test_a_key_tells_who_calls_and_is_nowhere_in_the_database(platform, partner):
    member, key = partner
    principal = who(platform, key)
    assert (principal.member_id, principal.organisation_id) == (member, "beta")
    assert principal.roles == {"partner"}
    assert not principal.operator
    secret = key.split("_", 2)[2]
    assert len(secret) >= 43  # 256 bits in base 64
    stored = everything(platform)
    assert principal.key_id in stored
    assert secret not in stored


@pytest.mark.parametrize(
    "spoil",
    [
        lambda key: key[:-1] + ("A" if key[-1] != "A" else "B"),
        lambda key: "tnd_" + "0" * 16 + "_" + key.split("_", 2)[2],
        lambda key: key.replace("tnd_", "xyz_"),
        lambda _: "",
        lambda _: "tnd__",
        lambda _: "tnd_あ_い",
        lambda _: "tnd_a_\ud800",
    ],
)
def test_a_wrong_key_is_refused_without_saying_why(platform, partner, spoil):
    with pytest.raises(UnauthenticatedError) as caught:
        who(platform, spoil(partner[1]))
    assert str(caught.value) == (
        "the key is not valid; next: ask the operator for a new one: tanada key add"
    )


@pytest.mark.parametrize("kind", ["key", "member", "org"])
def test_revoking_key_member_or_organisation_ends_the_key_at_once(platform, partner, kind):
    member, key = partner
    target = {"key": key.split("_")[1], "member": member, "org": "beta"}[kind]
    with writing(platform.engine) as connection:
        first = parties.revoke(connection, kind, target, platform.clock)
        assert parties.revoke(connection, kind, target, platform.clock) == first
    assert first["state"] == "revoked"
    with pytest.raises(UnauthenticatedError):
        who(platform, key)


def test_a_key_ends_at_its_expiry_to_the_nanosecond(platform, partner):
    end = platform.clock() + 10**9
    with writing(platform.engine) as connection:
        key = parties.issue_key(connection, partner[0], platform.root.pepper(), platform.clock, end)
        with pytest.raises(WrongUseError):
            parties.issue_key(connection, partner[0], platform.root.pepper(), platform.clock, 1)
    assert who(platform, key, end - 1)
    with pytest.raises(UnauthenticatedError):
        who(platform, key, end)


def test_terms_get_a_new_version_and_never_change_in_place(platform):
    with writing(platform.engine) as connection:
        for number in (1, 2, 3):
            key, version = parties.add_agreement(
                connection,
                organisation="acme",
                title=f"v{number}",
                terms=TERMS,
                clock=platform.clock,
                agreement="c1",
            )
            assert (key, version) == ("c1", number)
        shown = parties.show(connection, "agreement", "c1")
        assert shown["title"] == "v3"
        assert shown["terms"]["label"] == "c1"
        assert [v["state"] for v in shown["versions"]] == ["superseded", "superseded", "active"]
        assert parties.active_agreement(connection, "acme", "c1") == 3
        parties.revoke(connection, "agreement", "c1", platform.clock)
        with pytest.raises(NotFoundError):
            parties.active_agreement(connection, "acme", "c1")
        with pytest.raises(ConflictError):
            parties.add_agreement(
                connection,
                organisation="acme",
                title="again",
                terms=TERMS,
                clock=platform.clock,
                agreement="c1",
            )


@pytest.mark.usefixtures("partner")
def test_an_agreement_of_one_organisation_is_none_of_another(platform):
    with writing(platform.engine) as connection, pytest.raises(NotFoundError):
        parties.active_agreement(connection, "beta", "acme-own-use")
    with writing(platform.engine) as connection, pytest.raises(ConflictError):
        parties.add_agreement(
            connection,
            organisation="beta",
            title="x",
            terms=TERMS,
            clock=platform.clock,
            agreement="acme-own-use",
        )


def test_the_default_agreement_is_the_only_one(platform):
    with writing(platform.engine) as connection:
        assert parties.default_agreement(connection, "acme") == "acme-own-use"
        parties.add_agreement(
            connection, organisation="acme", title="b", terms=TERMS, clock=platform.clock
        )
        with pytest.raises(WrongUseError, match="--agreement"):
            parties.default_agreement(connection, "acme")


@pytest.mark.usefixtures("partner")
def test_robots_belong_to_their_organisation(platform):
    with writing(platform.engine) as connection:
        for organisation in ("acme", "beta"):
            parties.add_robot(
                connection,
                organisation=organisation,
                robot="arm",
                sector="food",
                clock=platform.clock,
                joint_limits={"j1": (-1, 2.5)},
            )
        with pytest.raises(WrongUseError, match="--organisation"):
            parties.show(connection, "robot", "arm")
        shown = parties.show(connection, "robot", "arm", organisation="beta")
        assert shown["joint_limits"] == {"j1": [-1.0, 2.5]}
        parties.revoke(connection, "robot", "arm", platform.clock, organisation="beta")
        states = {r["organisation_id"]: r["state"] for r in parties.listing(connection, "robot")}
        assert parties.show(connection, "robot", "arm", organisation="acme")["state"] == "active"
        assert states["beta"] == "revoked"
        with pytest.raises(ConflictError):
            parties.add_robot(
                connection, organisation="acme", robot="arm", sector="food", clock=platform.clock
            )


@pytest.mark.parametrize(
    "limits", [{"j": [2, 1]}, {"j": [1]}, {"j": "x"}, {"j": [float("nan"), 1]}]
)
def test_limits_that_are_none_are_refused(platform, limits):
    with writing(platform.engine) as connection, pytest.raises(WrongUseError, match="joint j"):
        parties.add_robot(
            connection,
            organisation="acme",
            robot="arm",
            sector="food",
            clock=platform.clock,
            joint_limits=limits,
        )


@pytest.mark.usefixtures("partner")
def test_grants_need_dataset_and_recipient(platform):
    with writing(platform.engine) as connection:
        parties.add_dataset(
            connection,
            dataset="pick",
            organisation="acme",
            title="Pick",
            clock=platform.clock,
            sectors=["food"],
        )
        grant = parties.add_grant(
            connection, dataset="pick", organisation="beta", terms=TERMS, clock=platform.clock
        )
        assert parties.show(connection, "grant", grant)["terms"] == TERMS | {"label": grant}
        revoked = parties.revoke(connection, "grant", grant, platform.clock)
        assert revoked["state"] == "revoked"
        assert revoked["revoked_ns"] is not None
        for dataset, organisation in (("none", "beta"), ("pick", "none")):
            with pytest.raises(NotFoundError):
                parties.add_grant(
                    connection,
                    dataset=dataset,
                    organisation=organisation,
                    terms=TERMS,
                    clock=platform.clock,
                )


def test_wrong_names_roles_and_sectors_are_refused(platform):
    with writing(platform.engine) as connection:
        with pytest.raises(WrongUseError, match="ASCII"):
            parties.add_organisation(connection, name="株式会社", clock=platform.clock)
        with pytest.raises(ConflictError):
            parties.add_organisation(connection, name="Acme", clock=platform.clock)
        with pytest.raises(ConflictError, match="operator"):
            parties.add_organisation(connection, name="B", clock=platform.clock, operator=True)
        for roles in ([], ["root"]):
            with pytest.raises(WrongUseError, match="role"):
                parties.add_member(
                    connection, organisation="acme", name="m", roles=roles, clock=platform.clock
                )
        with pytest.raises(WrongUseError, match="restaurant"):
            parties.add_robot(
                connection, organisation="acme", robot="r", sector="mining", clock=platform.clock
            )
        for name in ("a/b", "..", "", "x" * 61, "あ"):
            with pytest.raises(WrongUseError):
                parties.add_dataset(
                    connection,
                    dataset=name,
                    organisation="acme",
                    title="t",
                    clock=platform.clock,
                )
        with pytest.raises(ConflictError, match="stays"):
            parties.revoke(connection, "org", "acme", platform.clock)
