"""The page in a real Chromium, fed by a real `spanhouse up`."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from spanhouse.demo.send import Sender
from spanhouse.demo.workflows import request as demo_request
from spanhouse.demo.world import World
from tests.harness import Instance, eventually, request
from tests.page.conftest import tree
from tests.parts.fixtures import need
from tests.parts.process import free_port

HOUR_NS = 3600 * 10**9
WEEK_NS = 7 * 24 * HOUR_NS
EVIL = "<img src=x onerror=window.hurt=1>"
DASHBOARDS = ("overview", "cost", "latency", "traces", "slo", "prompts", "users", "pipeline")
ALL_ROWS = "/sql?q=SELECT+*+FROM+agent_events+LIMIT+20"
FAILED_ROWS = "/sql?q=SELECT+*+FROM+agent_events+WHERE+status='error'+ORDER+BY+tenant_id"
# A slow machine takes long to answer eight dashboards; conditions are waited for, not times.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)


def history(instance: Instance, requests: int, over_ns: int, before_ns: int = 0, seed: int = 1) -> None:
    """Demo requests that lie in the past, spread over `over_ns` that ended `before_ns` ago."""
    world = World(60, random.Random(seed))
    endpoint = instance.addresses["otlp-grpc"]
    sender = Sender(lambda: OTLPSpanExporter(endpoint=endpoint, insecure=True))
    end = time.time_ns() - before_ns
    for number in range(requests):
        sender.send(demo_request(world), end - over_ns * (requests - 1 - number) // requests)
    sender.close()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Holds an hour of demo data, that of a week ago, and a tenant with a bad name."""
    need("chromium")
    with Instance(tmp_path_factory.mktemp("browser") / "data") as instance:
        history(instance, 120, HOUR_NS)
        history(instance, 60, HOUR_NS, WEEK_NS, seed=2)
        evil = {"tenant__id": EVIL, "gen_ai__agent__name": EVIL, "http__route": EVIL}
        message = request(3, service=EVIL, error__type=EVIL, **evil)
        for span in message.resource_spans[0].scope_spans[0].spans:
            span.name, span.kind, span.status.code, span.status.message = EVIL, 2, 2, EVIL
        assert instance.post(message.SerializeToString())[0] == 200
        yield instance


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = need("chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--force-color-profile=srgb"])
        yield started
        started.close()


@dataclass
class Tab:
    """A page in the browser, and what it complained about and asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    instance: Instance | None = None

    def open(self, instance: Instance, path: str = "/") -> Page:
        self.instance = instance
        self.page.goto(instance.url("page", path))
        return self.page


Open = Callable[..., Tab]


@pytest.fixture
def tab(browser: Browser) -> Iterator[Open]:
    """Makes tabs; afterwards none has complained, and none has asked anybody but its own server."""
    made: list[Tab] = []

    def make(width: int = 1440, height: int = 900, **options: Any) -> Tab:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            locale="en-GB", timezone_id="Europe/Berlin", accept_downloads=True, **options,
        )  # fmt: skip
        context.set_default_timeout(PATIENCE_MS)
        one = Tab(context.new_page())
        one.page.on(
            "console", lambda m: one.complaints.append(m.text) if m.type in ("error", "warning") else None
        )
        one.page.on("pageerror", lambda error: one.complaints.append(str(error)))
        one.page.on("request", lambda asked: one.hosts.add(asked.url.split("/")[2]))
        made.append(one)
        return one

    yield make
    for one in made:
        one.page.context.close()
        assert one.complaints == []
        assert one.instance is not None
        assert one.hosts == {one.instance.addresses["page"]}


def settled(page: Page) -> None:
    """Wait until all panels that are in view have their answers."""
    expect(page.locator("main h1")).to_be_visible()
    eventually(lambda: page.evaluate("!document.querySelector('main [aria-busy=true]')"))


def every_panel(page: Page) -> list[Locator]:
    """All panels, each brought into view and answered."""
    settled(page)
    panels = page.locator("main .panel").all()
    for panel in panels:
        panel.scroll_into_view_if_needed()
        expect(panel.locator(".skeleton")).to_have_count(0)
        expect(panel).not_to_have_attribute("aria-busy", "true")
    return panels


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_shows_its_panels(tab: Open, demo: Instance, name: str) -> None:
    chosen = f"?var-trace_id={a_trace(demo)}" if name == "traces" else ""
    page = tab().open(demo, f"/d/{name}{chosen}")
    panels = every_panel(page)
    assert panels
    expect(page.locator("main .panel > .note:visible")).to_have_count(0)
    with_data = [panel for panel in panels if not panel.locator(".empty").count()]
    assert len(with_data) > len(panels) / 2
    assert page.locator("nav a[aria-current=page]").count() == 1


def test_the_start_page_is_the_overview(tab: Open, demo: Instance) -> None:
    page = tab().open(demo, "/?from=now-1h&to=now")
    expect(page.locator("h1")).to_have_text("Overview")
    assert page.url.endswith("/d/overview?from=now-1h&to=now")


def test_new_data_appears_without_reload(tab: Open, demo: Instance) -> None:
    page = tab().open(demo, "/d/overview?from=now-6h&to=now&var-tenant=newcomer")
    settled(page)
    page.evaluate("window.same = true")
    numbers = page.locator("main .panel.stat .big")
    before = numbers.all_text_contents()
    message = request(5, service="newcomers", tenant__id="newcomer", gen_ai__request__model="gpt-4o-mini")
    assert demo.post(message.SerializeToString())[0] == 200
    eventually(lambda: numbers.all_text_contents() != before)
    assert page.evaluate("window.same") is True
    # A pause holds what is shown.
    page.get_by_role("button", name="pause").click()
    expect(page.get_by_role("button", name="go on")).to_be_visible()


def test_a_trace_opens_from_a_table(tab: Open, demo: Instance, tmp_path: Path) -> None:
    page = tab().open(demo, "/d/traces?from=now-6h&to=now&var-service=api-gateway")
    page.goto(demo.url("page", "/d/traces?from=now-6h&to=now"))
    page.locator('main a[href^="/trace/"]').first.click()
    rows = page.get_by_role("treeitem")
    expect(rows.first).to_be_visible()
    assert re.search(r"/trace/[0-9a-f]{32}\?from=now-6h&to=now$", page.url)
    details = page.get_by_label("Details of the span")
    first = details.locator("h2").inner_text()
    count = rows.count()
    page.get_by_role("tree").focus()
    page.keyboard.press("End")
    expect(page.locator(".span.selected")).to_have_attribute("aria-posinset", str(count))
    page.keyboard.press("Home")
    expect(details.locator("h2")).to_have_text(first)
    if count > 1:
        page.keyboard.press("ArrowLeft")
        expect(rows).to_have_count(1)
        page.keyboard.press("ArrowRight")
        expect(rows).to_have_count(count)
    with page.expect_download() as download:
        page.get_by_role("link", name="OTLP JSON").click()
    download.value.save_as(tmp_path / "trace.json")
    exported = json.loads((tmp_path / "trace.json").read_text())
    spans = [s for r in exported["resourceSpans"] for scope in r["scopeSpans"] for s in scope["spans"]]
    assert len(spans) == count
    page.go_back()
    expect(page.locator("h1")).to_have_text("Traces")


def test_a_point_of_a_chart_leads_to_its_traces(tab: Open, demo: Instance) -> None:
    page = tab().open(demo, "/d/overview?from=now-1h&to=now")
    settled(page)
    plot = page.locator(".panel.timeseries .u-over").first
    plot.scroll_into_view_if_needed()
    plot.click()
    page.get_by_role("link", name=re.compile("^Traces at")).click()
    expect(page.locator("h1")).to_have_text("Traces")
    assert re.search(r"/d/traces\?.*from=\d+&to=\d+", page.url)
    page.go_back()
    expect(page.locator("h1")).to_have_text("Overview")


def test_a_drag_over_a_chart_zooms(tab: Open, demo: Instance) -> None:
    page = tab().open(demo, "/d/overview?from=now-1h&to=now")
    settled(page)
    plot = page.locator(".panel.timeseries .u-over").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 20, steps=5)
    page.mouse.up()
    page.wait_for_url(re.compile(r"from=\d+&to=\d+"))
    found = re.search(r"from=(\d+)&to=(\d+)", page.url)
    assert found
    assert 25 * 60_000 < int(found[2]) - int(found[1]) < 35 * 60_000
    settled(page)
    page.go_back()
    page.wait_for_url(re.compile("from=now-1h&to=now$"))


def test_filters_and_range_are_in_the_url_and_survive_a_reload(tab: Open, demo: Instance) -> None:
    page = tab().open(demo, "/d/overview")
    page.get_by_role("button", name="Time range").click()
    page.get_by_role("button", name="Last hour").click()
    page.get_by_role("button", name="Tenant All").click()
    options = page.get_by_role("listbox", name="Tenant").get_by_role("option")
    chosen = [options.nth(0).inner_text(), options.nth(1).inner_text()]
    options.nth(0).click()
    options.nth(1).click()
    page.keyboard.press("Escape")
    button = page.get_by_role("button", name=f"Tenant {chosen[0]} +1")
    expect(button).to_be_focused()
    address = page.url
    assert address.count("var-tenant=") == 2
    assert "from=now-1h&to=now" in address
    page.reload()
    expect(button).to_be_visible()
    expect(page.get_by_role("button", name="Time range: Last hour")).to_be_visible()
    assert page.url == address
    # They go along to another dashboard, and back is back.
    page.get_by_role("link", name="Cost", exact=True).click()
    expect(page.locator("h1")).to_have_text("Cost")
    expect(button).to_be_visible()
    page.go_back()
    page.go_back()
    expect(page.get_by_role("button", name="Tenant All")).to_be_visible()
    expect(page.get_by_role("button", name="Time range: Last hour")).to_be_visible()


def test_a_filter_by_keyboard_alone(tab: Open, demo: Instance) -> None:
    page = tab().open(demo, "/d/overview?from=now-1h&to=now")
    settled(page)
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to content")).to_be_focused()
    button = page.get_by_role("button", name="Service All")
    for _ in range(40):
        if button.evaluate("one => one === document.activeElement"):
            break
        page.keyboard.press("Tab")
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    field = page.get_by_role("combobox", name="Service")
    expect(field).to_be_focused()
    options = page.get_by_role("listbox", name="Service").get_by_role("option")
    expect(options.nth(1)).to_be_visible()
    name = options.nth(1).inner_text()
    page.keyboard.type(name[:6])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Home")
    active = field.get_attribute("aria-activedescendant")
    page.keyboard.press("Enter")
    expect(page.locator(f"#{active}")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Escape")
    expect(page.get_by_role("listbox", name="Service")).to_be_hidden()
    expect(page.get_by_role("button", name=re.compile("^Service (?!All)"))).to_be_focused()
    assert "var-service=" in page.url


def test_dark_and_light(tab: Open, demo: Instance) -> None:
    def background(page: Page) -> int:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return int(re.findall(r"\d+", colour)[0])

    page = tab(color_scheme="dark").open(demo, "/d/overview")
    assert background(page) < 60
    page.get_by_role("button", name="Theme").click()
    assert background(page) > 200
    page.reload()
    assert background(page) > 200
    assert background(tab(color_scheme="light").open(demo, "/d/overview")) > 200


@pytest.mark.parametrize(
    "path", ["/d/overview", "/d/cost", "/d/latency", "/d/traces", "/sql?q=SELECT+*+FROM+agent_events"]
)
def test_a_phone_needs_no_sideways_scrolling(tab: Open, demo: Instance, path: str) -> None:
    page = tab(390, 844, has_touch=True).open(demo, path)
    if path.startswith("/d"):
        every_panel(page)
    else:
        expect(page.get_by_role("table")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.get_by_role("button", name="Menu", exact=True).click()
    page.get_by_role("link", name="SQL", exact=True).click()
    expect(page.locator("h1")).to_have_text("SQL")


def test_a_trace_on_a_phone(tab: Open, demo: Instance) -> None:
    page = tab(390, 844, has_touch=True).open(demo, f"/trace/{a_trace(demo)}")
    expect(page.get_by_role("treeitem").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def a_trace(instance: Instance) -> str:
    (row,) = instance.sql("SELECT trace_id FROM agent_events GROUP BY trace_id ORDER BY count() DESC LIMIT 1")
    return str(row["trace_id"])


def test_an_empty_store_says_how_to_send_the_first_span(tab: Open, browser: Browser, tmp_path: Path) -> None:
    with Instance(tmp_path / "data") as instance:
        page = tab().open(instance, "/")
        expect(page.locator("h1")).to_have_text("No spans yet")
        expect(page.get_by_text("OTEL_EXPORTER_OTLP_ENDPOINT")).to_be_visible()
        expect(page.get_by_text("spanhouse up --demo")).to_be_visible()
        assert instance.post(request(2).SerializeToString())[0] == 200
        expect(page.locator("h1")).to_have_text("Overview")
        settled(page)


def test_sql(tab: Open, demo: Instance, tmp_path: Path) -> None:
    one = tab()
    page = one.open(demo, "/sql")
    field = page.get_by_label("Query", exact=True)
    field.fill("SELECT number AS n, 'a,b' AS word FROM numbers(3) ORDER BY n DESC")
    field.press("Control+Enter")
    expect(page.get_by_role("table").locator("tbody tr")).to_have_count(3)
    assert "/sql?q=SELECT" in page.url
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    download.value.save_as(tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["n", "word"], ["2", "a,b"], ["1", "a,b"], ["0", "a,b"]]
    page.get_by_role("columnheader", name="n", exact=False).first.get_by_role("button").click()
    page.get_by_role("columnheader", name="n", exact=False).first.get_by_role("button").click()
    expect(page.get_by_role("table").locator("tbody td").first).to_have_text("0")

    field.fill("SELECT nothing FROM agent_events")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("alert").filter(has_text="nothing")).to_be_visible()
    expect(page.get_by_role("table")).to_have_count(0)
    # The browser itself notes an answer with status 400.
    eventually(lambda: page.evaluate("1") and one.complaints)
    assert all("400" in complaint for complaint in one.complaints)
    one.complaints.clear()
    page.go_back()
    expect(page.get_by_role("table").locator("tbody tr")).to_have_count(3)


def test_a_panel_that_fails_says_why_and_tries_again(tab: Open, demo: Instance) -> None:
    one = tab()
    page = one.open(demo, "/d/overview?from=nonsense&to=now")
    alert = page.locator("main .panel .note:visible").first
    expect(alert).to_contain_text("nonsense")
    expect(alert.get_by_role("button", name="Try again")).to_be_visible()
    one.page.goto(demo.url("page", "/d/overview"))
    settled(page)
    assert all("400" in complaint for complaint in one.complaints)
    one.complaints.clear()


def test_a_stopped_server_and_its_return(tab: Open, tmp_path: Path) -> None:
    port = f"--page=127.0.0.1:{free_port()}"
    one = tab()
    with Instance(tmp_path / "data", port) as instance:
        assert instance.post(request(2).SerializeToString())[0] == 200
        page = one.open(instance, "/d/overview")
        settled(page)
        instance.kill()
        banner = page.get_by_text("spanhouse is not answering")
        expect(banner).to_be_visible()
        shown = page.locator("main .panel.stat .big").all_text_contents()
        assert shown
    with Instance(tmp_path / "data", port) as instance:
        expect(banner).to_be_hidden()
        settled(page)
        expect(page.locator("main .panel > .note:visible")).to_have_count(0)
    assert all("ERR_CONNECTION" in complaint for complaint in one.complaints)
    one.complaints.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["overview", "trace", "sql", "filter", "menu"])
def test_axe_finds_nothing_serious(tab: Open, demo: Instance, view: str, scheme: str) -> None:
    script = need("axe").read_text()
    page = tab(color_scheme=scheme, reduced_motion="reduce").open(
        demo,
        {"trace": f"/trace/{a_trace(demo)}", "sql": "/sql?q=SELECT+*+FROM+agent_events+LIMIT+20"}.get(
            view, "/d/overview"
        ),
    )
    if view == "trace":
        expect(page.get_by_role("treeitem").first).to_be_visible()
    elif view == "sql":
        expect(page.get_by_role("table")).to_be_visible()
    else:
        settled(page)
    if view == "filter":
        page.get_by_role("button", name="Tenant All").click()
        expect(page.get_by_role("option").first).to_be_visible()
    elif view == "menu":
        page.get_by_role("button", name=re.compile("^Menu of")).first.click()
        expect(page.get_by_role("link", name="Download CSV")).to_be_visible()
    page.evaluate(script)
    violations = page.evaluate("axe.run().then(found => found.violations)")
    told = [
        f"{v['impact']} {v['id']}: {v['help']}: {[node['html'][:160] for node in v['nodes'][:4]]}"
        for v in violations
        if v["impact"] in ("serious", "critical")
    ]
    assert told == []


@pytest.mark.parametrize(
    "path",
    [
        "/d/overview",
        "/d/latency",
        "/d/traces",
        "/d/cost",
        "/sql?q=SELECT+*+FROM+agent_events+WHERE+status='error'",
    ],
)
def test_names_of_strangers_are_text(tab: Open, demo: Instance, path: str) -> None:
    page = tab().open(demo, path)
    if path.startswith("/d"):
        every_panel(page)
        page.get_by_role("button", name="Tenant All").click()
        expect(page.get_by_role("option", name=EVIL)).to_be_visible()
        page.get_by_role("option", name=EVIL).click()
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name=f"Tenant {EVIL}")).to_be_visible()
        every_panel(page)
    else:
        expect(page.get_by_role("cell", name=EVIL).first).to_be_visible()
    assert page.locator("main img").count() == 0
    assert page.evaluate("window.hurt") is None


def test_a_strange_trace_is_text(tab: Open, demo: Instance) -> None:
    (row,) = demo.sql("SELECT trace_id FROM agent_events WHERE service LIKE '<img%' LIMIT 1")
    page = tab().open(demo, f"/trace/{row['trace_id']}")
    expect(page.get_by_role("treeitem")).to_contain_text(EVIL)
    expect(page.locator("h1")).to_have_text(EVIL)
    assert page.locator("main img").count() == 0
    assert page.evaluate("window.hurt") is None


def test_a_panel_as_a_table_and_as_csv(tab: Open, demo: Instance, tmp_path: Path) -> None:
    page = tab().open(demo, "/d/overview?from=now-1h&to=now")
    settled(page)
    panel = page.locator(".panel.timeseries").first
    title = panel.locator("h3").inner_text()
    page.get_by_role("button", name=f"Menu of {title}").click()
    page.get_by_role("button", name="View as table").click()
    expect(panel.get_by_role("table")).to_be_visible()
    page.get_by_role("button", name=f"Menu of {title}").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download CSV").click()
    download.value.save_as(tmp_path / "panel.csv")
    with (tmp_path / "panel.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header[0] == "time"
    assert rows


def test_thousands_of_spans_are_few_elements(tab: Open, demo: Instance) -> None:
    trace_id = os.urandom(16)
    message = request(4000, trace_id=trace_id)
    assert demo.post(message.SerializeToString())[0] == 200
    page = tab().open(demo, f"/trace/{trace_id.hex()}")
    expect(page.get_by_text("4000 spans", exact=True)).to_be_visible()
    assert page.get_by_role("treeitem").count() < 100
    page.get_by_role("tree").focus()
    page.keyboard.press("End")
    expect(page.locator(".span.selected")).to_have_attribute("aria-posinset", "4000")
    assert page.get_by_role("treeitem").count() < 100


def test_collapsing_and_parents(tab: Open, demo: Instance) -> None:
    trace_id = os.urandom(16)
    message = tree(trace_id, {"a": "", "b": "a", "c": "b", "d": "a"})
    assert demo.post(message.SerializeToString())[0] == 200
    page = tab().open(demo, f"/trace/{trace_id.hex()}")
    rows = page.get_by_role("treeitem")
    expect(rows).to_have_count(4)
    assert [row.get_attribute("aria-level") for row in rows.all()] == ["1", "2", "3", "2"]
    page.get_by_role("tree").focus()
    for key in ("ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    expect(page.locator(".span.selected")).to_contain_text("c")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".span.selected")).to_contain_text("b")
    page.keyboard.press("ArrowLeft")
    expect(rows).to_have_count(3)


def test_a_token_where_it_is_not_loopback(tab: Open, tmp_path: Path) -> None:
    one = tab()
    with Instance(tmp_path / "data", "--page=0.0.0.0:0") as instance:
        port = instance.addresses["page"].rpartition(":")[2]
        instance.addresses["page"] = f"127.0.0.1:{port}"
        assert instance.post(request(2).SerializeToString())[0] == 200
        page = one.open(instance, "/d/overview?from=now-1h")
        expect(page.get_by_text("Open the page with the address that")).to_be_visible()
        assert all("401" in complaint for complaint in one.complaints)
        one.complaints.clear()
        token = (tmp_path / "data/page.token").read_text().strip()
        page.goto(instance.url("page", f"/d/overview?from=now-1h&token={token}"))
        expect(page.locator("h1")).to_have_text("Overview")
        assert page.url == instance.url("page", "/d/overview?from=now-1h")
        settled(page)


def test_an_unknown_trace_says_so(tab: Open, demo: Instance) -> None:
    one = tab()
    page = one.open(demo, f"/trace/{'0' * 31}1")
    expect(page.get_by_role("alert").filter(has_text="No span of trace")).to_be_visible()
    assert all("404" in complaint for complaint in one.complaints)
    one.complaints.clear()


# Counted where the page asks: what the driver reports of a request and of its answer comes by different ways,
# and under load a later request may be reported before an earlier answer is.
COUNT_QUESTIONS = """
    const ask = window.fetch;
    let open = 0;
    window.most = 0;
    window.fetch = async (url, ...rest) => {
        if (!String(url).includes("/api/panels/")) return ask(url, ...rest);
        window.most = Math.max(window.most, ++open);
        try { return await ask(url, ...rest); } finally { open--; }
    };
"""


def test_few_questions_at_once(tab: Open, demo: Instance) -> None:
    one = tab()
    one.page.add_init_script(COUNT_QUESTIONS)
    page = one.open(demo, "/d/overview")
    every_panel(page)
    assert 2 <= page.evaluate("window.most") <= 4
