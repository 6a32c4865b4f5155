"""Only the server's own pages are answered, and nothing else changes decisions."""

import stat
from pathlib import Path

import pytest

from scanner.errors import UserError
from scanner.review import Site
from scanner.review.serve import read_token
from tests.review.sites import HOST, ORIGIN, ask, decide, small_run, small_site

BODY = {"reviewer": "ann", "captions": ["0001"], "stated": {"label": "none"}}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return small_site(tmp_path_factory.mktemp("guard"))


def test_health_needs_no_token_and_tells_nothing(site: Site) -> None:
    answer = ask(site, "/healthz", base="")
    assert (answer.status, answer.body) == (200, b"ok\n")


@pytest.mark.parametrize("base", ["", "/", "/x", "/" + "t" * 31, "/" + "t" * 33, "/é"])
@pytest.mark.parametrize("path", ["/queue", "/caption/0001", "/decisions.csv", "/static/review.js"])
def test_every_page_needs_the_token(site: Site, base: str, path: str) -> None:
    answer = ask(site, path, base=base)
    assert answer.status == 404
    assert b"poster" not in answer.body


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:80", "", None])
def test_other_names_of_the_host_are_refused(site: Site, host: str | None) -> None:
    assert ask(site, "/queue", host=host).status == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": f"ftp://{HOST}"}, 403),
        ({"origin": None}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"content_type": "text/plain"}, 415),
        ({"content_type": None}, 415),
        ({"content_length": str(1 << 30)}, 413),
        ({"content_length": None}, 413),
    ],
)
def test_forms_of_other_sites_decide_nothing(
    site: Site, headers: dict[str, str | None], status: int
) -> None:
    assert ask(site, "/decide", BODY, **headers).status == status
    assert site.book.all() == {}


def test_pages_allow_only_their_own_scripts(site: Site) -> None:
    answer = ask(site, "/queue", origin=ORIGIN)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    ["/static/..%2f..%2fapp.py", "/static/site.py", "/queue/", "/image/0001/..%2f..%2fetc/0", "/x"],
)
def test_no_path_reaches_the_file_system(site: Site, path: str) -> None:
    assert ask(site, path).status == 404


@pytest.mark.slow
def test_a_read_only_server_takes_no_decision(tmp_path: Path) -> None:
    site = small_site(tmp_path, read_only=True)
    assert decide(site, "ann", ["0001"], label="none").status == 403
    assert ask(site, "/undo", {"reviewer": "ann"}).status == 403
    assert b'id="bar"' not in ask(site, "/queue").body
    assert not (tmp_path / "run/decisions/log").exists()


def test_token_stays_in_a_file_of_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "token"
    token = read_token(str(file))
    assert len(token) >= 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_token(str(file)) == token
    assert read_token(None) != read_token(None)
    file.chmod(0o644)
    with pytest.raises(UserError, match="others can read it"):
        read_token(str(file))
    file.chmod(0o600)
    file.write_text("short")
    with pytest.raises(UserError, match="at least 16"):
        read_token(str(file))


@pytest.mark.slow
def test_the_run_stays_as_it_was(tmp_path: Path) -> None:
    run = Path(small_run(tmp_path))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    site = small_site(tmp_path, run=str(run))
    assert decide(site, "ann", ["0001"], label="none").status == 200
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    new = after.keys() - before.keys()
    assert {path.relative_to(run).parts[0] for path in new} == {"decisions"}
    assert {path: after[path] for path in before} == before
