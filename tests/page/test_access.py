"""Who may see the page, and what its files come with."""

from __future__ import annotations

import http.client
import re
from pathlib import Path

import pytest
import requests
from playwright.sync_api import sync_playwright

from tests.harness import Instance
from tests.page.conftest import Browser
from tests.parts.fixtures import need


def ask(instance: Instance, path: str, **headers: str) -> tuple[int, str]:
    """With the headers as they are, and no others."""
    address = instance.addresses["page"].replace("0.0.0.0", "127.0.0.1")
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    response = connection.getresponse()
    return response.status, response.read().decode()


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:9999", "LOCALHOST:1", "127.0.0.1:80", "127.9.9.9", "[::1]:8080", "[::1]"]
)
def test_names_of_this_machine_are_answered(page: Browser, host: str) -> None:
    assert ask(page.instance, "/api/dashboards", Host=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1",
     "0.0.0.0:8080", "[::2]", "", "localhost:80@evil.example", "localhost, evil.example", "[::1", "1270.0.1"],
)  # fmt: skip
def test_other_names_are_not(page: Browser, host: str) -> None:
    for path in ("/", "/api/dashboards", "/static/app.js"):
        status, text = ask(page.instance, path, Host=host)
        assert status in (400, 403), (path, text)


def test_a_request_without_a_name_is_refused(page: Browser) -> None:
    assert ask(page.instance, "/api/dashboards")[0] in (400, 403)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_gets_nothing(page: Browser, site: str) -> None:
    answer = page.get("/api/dashboards", {"Sec-Fetch-Site": site})
    assert answer.status_code == 403
    assert "Another site" in answer.json()["error"]
    assert page.get("/api/dashboards", {"Sec-Fetch-Site": "same-origin"}).status_code == 200
    # A link to it may be followed.
    assert page.get("/", {"Sec-Fetch-Site": site}).status_code == 200


def test_files(page: Browser) -> None:
    index = page.get("/")
    assert index.headers["Content-Type"] == "text/html; charset=utf-8"
    assert index.headers["Cache-Control"] == "no-cache"
    for path in ("/d/overview", "/trace/0af7651916cd43dd8448eb211c80319c", "/sql", "/d/nothing"):
        assert page.get(path).text == index.text
    again = page.get("/", {"If-None-Match": index.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert page.get("/", {"If-None-Match": '"other"'}).status_code == 200
    files = re.findall(r'(?:src|href)="/static/([^"]+)"', index.text)
    assert files
    types = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
    for name in files:
        answer = page.get(f"/static/{name}")
        assert answer.status_code == 200, name
        assert answer.headers["Content-Type"].startswith(types.get(name.rpartition(".")[2], ""))


@pytest.mark.parametrize(
    "path",
    ["/static/nothing.js", "/static/../server.py", "/static/%2e%2e/server.py", "/static/..%2fserver.py",
     "/static//etc/passwd", "/static/.hidden.js", "/static/", "/nothing", "/static/x.py", "/d"],
)  # fmt: skip
def test_what_is_no_file(page: Browser, path: str) -> None:
    status, text = ask(page.instance, path, Host="localhost")
    assert status == 404
    assert "import" not in text


@pytest.mark.parametrize("path", ["/", "/api/dashboards", "/nothing", "/api/nothing"])
def test_every_answer_has_the_headers_that_protect(page: Browser, path: str) -> None:
    headers = page.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "http:" not in str(policy)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == ("no-store" if path.startswith("/api") else "no-cache")
    assert "Access-Control-Allow-Origin" not in headers


def test_off_loopback_a_token_is_needed(tmp_path: Path) -> None:
    for _ in range(2):  # it stays the same
        with Instance(tmp_path / "data", "--page=0.0.0.0:0") as instance:
            check_token(instance, tmp_path / "data" / "page.token")
            assert instance.stop() == 0


def check_token(instance: Instance, file: Path) -> None:
    token = file.read_text()
    assert re.fullmatch("[0-9a-f]{64}", token)
    assert file.stat().st_mode & 0o777 == 0o600
    port = instance.addresses["page"].rpartition(":")[2]
    page = f"http://127.0.0.1:{port}"
    assert f"{page}/?token={token}" in instance.announced
    without = requests.get(f"{page}/api/dashboards", timeout=60)
    assert without.status_code == 401
    assert "spanhouse up" in without.json()["error"]
    # The page itself tells no secrets; it shows what the API says.
    assert requests.get(page, timeout=60).status_code == 200
    wrong = requests.get(f"{page}/?token={token[:-1]}", timeout=60)
    assert wrong.status_code == 401
    assert not wrong.cookies
    for bad in ("", "é", token.upper() + "0"):
        assert requests.get(page, params={"token": bad}, timeout=60).status_code == 401
    browser = requests.Session()
    welcome = browser.get(f"{page}/d/cost?from=now-1h&token={token}&var-tenant=a", timeout=60)
    assert welcome.status_code == 200
    assert welcome.headers["Refresh"] == "0; url=/d/cost?from=now-1h&var-tenant=a"
    cookie = welcome.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert browser.get(f"{page}/api/dashboards", timeout=60).status_code == 200
    query = {"query": "SELECT 1"}
    assert browser.post(f"{page}/api/sql", json=query, timeout=60).status_code == 200
    assert requests.post(f"{page}/api/sql", json=query, timeout=60).status_code == 401
    # By any name of the machine.
    assert ask(instance, "/api/dashboards", Host="box.lan:1", Cookie=cookie.partition(";")[0])[0] == 200


def test_a_browser_that_comes_by_a_link_of_another_site_gets_in(tmp_path: Path) -> None:
    """It would not, were the token's cookie set by a redirect."""
    program = need("chromium")
    with Instance(tmp_path / "data", "--page=0.0.0.0:0") as instance, sync_playwright() as playwright:
        (url,) = re.findall(r"http://\S+token=\w+", instance.announced)
        browser = playwright.chromium.launch(executable_path=program)
        tab = browser.new_page()
        # The metrics' server is the other site: another name.
        tab.goto(f"http://localhost:{instance.addresses['metrics'].rpartition(':')[2]}/healthz")
        tab.evaluate("url => location.assign(url)", url.replace("/?", "/d/cost?from=now-2h&"))
        tab.wait_for_url("**/d/cost?from=now-2h")
        with tab.expect_response("**/api/dashboards") as answer:
            tab.reload()
        assert answer.value.status == 200
        assert "token" not in tab.url
        browser.close()


def test_a_password_of_the_endpoint_is_not_walked_around(tmp_path: Path) -> None:
    config = tmp_path / "spanhouse.yaml"
    config.write_text("exporters:\n  clickhouse: {user: ann, password: s3cret}\n")
    with Instance(tmp_path / "data", config=config) as instance:
        page = Browser(instance)
        assert "spanhouse up" in page.error("/api/dashboards", 401)
        token = (tmp_path / "data" / "page.token").read_text()
        browser = requests.Session()
        browser.get(instance.url("page", f"/?token={token}"), timeout=60)
        answer = browser.post(instance.url("page", "/api/sql"), json={"query": "SELECT 1 AS a"}, timeout=60)
        assert answer.json()["rows"] == [[1]]
        assert ask(instance, "/api/dashboards", Host="evil.example")[0] == 403
        assert instance.stop() == 0
