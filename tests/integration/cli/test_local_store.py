"""Commands that work in the deployment's own database."""

from pathlib import Path

import pytest

from starter.cli import main
from store import api_keys, network
from store.engine import migrate, open_engine, reading

SAMPLE = Path(__file__).parents[3] / "config" / "sample"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with an empty database."""
    monkeypatch.setenv("DOMS_HOME", str(tmp_path))
    engine = open_engine(f"sqlite:///{tmp_path / 'doms.db'}")
    migrate(engine)
    engine.dispose()
    return tmp_path


def run(*arguments: str) -> int:
    return main(list(arguments))


def test_a_key_works_until_it_is_revoked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # given
    assert run("key", "create", "shop", "--role", "intake") == 0
    plain = capsys.readouterr().out.strip()
    engine = open_engine(f"sqlite:///{home / 'doms.db'}")
    with reading(engine) as session:
        caller = api_keys.check(session, plain)
    assert caller is not None
    assert caller.name == "shop"
    # when
    assert run("key", "revoke", "shop") == 0
    # then
    with reading(engine) as session:
        assert api_keys.check(session, plain) is None
    assert run("key", "revoke", "shop") == 1
    engine.dispose()


def test_a_network_and_catalogue_are_imported_from_files(home: Path) -> None:
    # when
    files = (str(SAMPLE / "network.yaml"), "--products", str(SAMPLE / "products.yaml"))
    assert run("network", "import", *files) == 0
    # then
    engine = open_engine(f"sqlite:///{home / 'doms.db'}")
    with reading(engine) as session:
        assert len(network.load_network(session).nodes) == 13
        assert set(network.products(session, ["MUG-WHITE", "NO-SUCH"])) <= {"MUG-WHITE"}
    engine.dispose()


def test_a_file_that_is_no_network_is_refused_with_its_field_and_nothing_is_stored(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # given
    broken = tmp_path / "broken.yaml"
    broken.write_text("nodes: [{node_id: a b, kind: dc, place: {country: US}}]")
    # when
    assert run("network", "import", str(broken)) == 1
    # then
    assert "nodes.0.node_id" in capsys.readouterr().err
    engine = open_engine(f"sqlite:///{home / 'doms.db'}")
    with reading(engine) as session:
        assert network.load_network(session).nodes == ()
    engine.dispose()
