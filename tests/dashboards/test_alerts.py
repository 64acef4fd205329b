"""Alert rules for Grafana: each fires on data that should fire it, stays quiet on data that should not, and
recovers. The provisioned files are run as Grafana runs them, on a real endpoint."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from spanhouse.dashboards import alerts
from spanhouse.dashboards.grafana import CLICKHOUSE
from spanhouse.store import EVERY_BLOCK
from tests.clickhouse_http.conftest import Doors, start
from tests.dashboards.grafana_alerting import Alert, duration, provisioned, rules
from tests.test_docs import anchors

ROOT = Path(__file__).parents[2]
RULES = rules()

# Rows are kept for 90 days; evaluations are at no whole minute, as Grafana's.
NOON = dt.datetime.now(dt.UTC).replace(hour=12, minute=0, second=0, microsecond=0) - dt.timedelta(days=20)
MINUTE, HOUR, DAY = dt.timedelta(minutes=1), dt.timedelta(hours=1), dt.timedelta(days=1)
LATER = dt.timedelta(seconds=37)


def at(minutes: float) -> dt.datetime:
    """An evaluation so many minutes after noon."""
    return NOON + minutes * MINUTE + LATER


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    doors = start(tmp_path_factory.mktemp("alerts") / "data")
    yield doors
    assert doors.stop() == 0


@dataclass
class World:
    """A store with some requests, and Grafana before it."""

    doors: Doors

    def requests(
        self,
        begin: dt.datetime,
        length: dt.timedelta,
        *,
        per_minute: int = 10,
        failing: float = 0,
        service: str = "shop",
        tenant: str = "acme",
        latency_ms: float = 100,
        slow: float = 0,
        slow_ms: float = 0,
        usd_per_minute: float = 0,
        parent: str = "",
    ) -> None:
        """Spans at the same distance from each other, of which shares fail and are slow."""
        count = int(length / MINUTE * per_minute)
        milliseconds = int(begin.timestamp() * 1000)
        self.doors.write.text(
            f"""
            INSERT INTO agent_events
                (ts, trace_id, span_id, parent_span_id, span_kind, kind, service, tenant_id,
                 status, latency_ms, cost_usd, cost_source)
            SETTINGS {EVERY_BLOCK}
            SELECT
                fromUnixTimestamp64Milli({milliseconds} + intDiv(number * 60000, {per_minute})),
                hex(number), hex(number), '{parent}', 'internal', 'agent', '{service}', '{tenant}',
                if(number * 617 % 1000 < {round(failing * 1000)}, 'error', 'ok'),
                if(number * 617 % 1000 < {round(slow * 1000)}, {slow_ms}, {latency_ms}),
                {usd_per_minute / per_minute:.10f}, 'computed'
            FROM numbers({count})
            """
        )

    def objective(self, service: str = "", availability: float = 0.999, latency_ms: float = 500) -> None:
        self.doors.write.text(
            "INSERT INTO objectives_state (service, availability, latency_ms, latency_share, active) "
            f"VALUES ('{service}', {availability}, {latency_ms}, 0.99, true)"
        )

    def budget(self, tenant: str, usd: float) -> None:
        self.doors.write.text(
            f"INSERT INTO budgets_state (tenant_id, usd_per_month, active) VALUES ('{tenant}', {usd}, true)"
        )

    def alert(self, name: str) -> Alert:
        return Alert(RULES[f"spanhouse-{name}"], self._ask)

    def _ask(self, statement: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.doors.read.text(statement, default_format="JSONCompact"))
        return answer


@pytest.fixture
def world(doors: Doors) -> World:
    """Empty tables."""
    tables = ("agent_events", "agent_metrics_1m_state", "agent_metrics_1h_state", "agent_metrics_1d_state")
    for table in (*tables, "objectives_state", "budgets_state"):
        doors.write.text(f"TRUNCATE TABLE {table}")
    return World(doors)


# Every rule.


@pytest.mark.parametrize("uid", RULES)
def test_nothing_fires_in_an_empty_store(world: World, uid: str) -> None:
    alert = Alert(RULES[uid], world._ask)
    assert not alert.run(NOON, NOON + 10 * MINUTE)
    assert not alert.instances
    world.objective()
    world.budget("", 100)
    assert not alert.run(NOON, NOON + 10 * MINUTE)


@pytest.mark.parametrize("uid", RULES)
def test_nothing_fires_while_all_is_well_nor_right_after_the_start(world: World, uid: str) -> None:
    world.objective()
    world.budget("", 1000)
    world.requests(NOON, 30 * MINUTE, failing=0.0, usd_per_minute=0.5)
    alert = Alert(RULES[uid], world._ask)
    assert not alert.run(at(-10), at(31))


# Error rate.


def test_error_rate(world: World) -> None:
    world.requests(NOON - 10 * MINUTE, 10 * MINUTE)
    world.requests(NOON, 20 * MINUTE, failing=0.5)
    world.requests(NOON + 20 * MINUTE, 20 * MINUTE)
    world.requests(NOON - 10 * MINUTE, 50 * MINUTE, service="other")
    # From the first minute on more than 5 % of five minutes failed; five minutes later it fires.
    assert world.alert("error-rate").run(at(-2), at(39)) == [(at(6), {"shop"}), (at(25), set())]


@pytest.mark.parametrize(("failing", "fires"), [(0.05, False), (0.045, False), (0.06, True)])
def test_error_rate_near_the_threshold(world: World, failing: float, fires: bool) -> None:
    world.requests(NOON, HOUR, per_minute=200, failing=failing)
    assert bool(world.alert("error-rate").run(at(6), at(20))) == fires


def test_error_rate_of_too_few_requests(world: World) -> None:
    world.requests(NOON, HOUR, per_minute=3, failing=1)
    assert not world.alert("error-rate").run(at(0), at(20))


def test_error_rate_of_a_short_burst(world: World) -> None:
    world.requests(NOON, 30 * MINUTE)
    world.requests(NOON + 10 * MINUTE, MINUTE, per_minute=30, failing=1)
    alert = world.alert("error-rate")
    alert.evaluate(at(12))
    assert [instance.state for instance in alert.instances.values()] == ["pending"]
    assert not world.alert("error-rate").run(at(0), at(29))


def test_error_rate_is_that_of_requests_not_of_spans(world: World) -> None:
    world.requests(NOON, HOUR)
    world.requests(NOON, HOUR, per_minute=100, failing=1, parent="0123456789abcdef")
    assert not world.alert("error-rate").run(at(0), at(20))


def test_error_rate_of_a_service_that_goes_away(world: World) -> None:
    world.requests(NOON, 20 * MINUTE, failing=1)
    world.requests(NOON, HOUR, service="other")
    # After its last minutes it has too few requests.
    assert world.alert("error-rate").run(at(0), at(59)) == [(at(7), {"shop"}), (at(24), set())]


# Latency.


def test_latency(world: World) -> None:
    world.objective(latency_ms=500)
    world.objective("batch", latency_ms=5000)
    world.requests(NOON - 10 * MINUTE, 10 * MINUTE)
    world.requests(NOON, 30 * MINUTE, slow=0.1, slow_ms=900)
    world.requests(NOON + 30 * MINUTE, 10 * MINUTE)
    world.requests(NOON - 10 * MINUTE, 50 * MINUTE, service="batch", latency_ms=3000)
    # An objective of its own, and one that is missed.
    world.objective("eager", latency_ms=50)
    world.requests(NOON + 10 * MINUTE, 30 * MINUTE, service="eager")
    changes = world.alert("latency").run(at(-5), at(60))
    assert {name for _, names in changes for name in names} == {"shop", "eager"}
    shop = [moment for moment, names in changes if "shop" in names]
    assert NOON + 10 * MINUTE < min(shop) < NOON + 16 * MINUTE
    assert changes[-1][1] == set()
    assert changes[-1][0] < at(46)


@pytest.mark.parametrize(("latency_ms", "fires"), [(499, False), (500, False), (510, True)])
def test_latency_near_the_objective(world: World, latency_ms: float, fires: bool) -> None:
    world.objective(latency_ms=500)
    world.requests(NOON, HOUR, latency_ms=latency_ms)
    assert bool(world.alert("latency").run(at(0), at(20))) == fires


def test_latency_that_is_high_for_less_than_ten_minutes(world: World) -> None:
    world.objective()
    world.requests(NOON, HOUR)
    world.requests(NOON + 20 * MINUTE, 5 * MINUTE, latency_ms=9000)
    assert not world.alert("latency").run(at(18), at(40))


def test_latency_of_too_few_requests_or_without_objective(world: World) -> None:
    world.requests(NOON, HOUR, latency_ms=9000)
    assert not world.alert("latency").run(at(0), at(20))
    world.objective("quiet")
    world.requests(NOON, HOUR, per_minute=3, latency_ms=9000, service="quiet")
    assert not world.alert("latency").run(at(0), at(20))


# No data.


def test_no_data(world: World) -> None:
    world.requests(NOON - HOUR, HOUR)
    world.requests(NOON + 20 * MINUTE, 10 * MINUTE)
    # The last span began before noon: five minutes of silence are over at 12:05.
    changes = world.alert("no-data").run(at(-30), at(29))
    assert changes == [(at(5), {"No data"}), (at(20), set())]


def test_no_data_when_everything_is_silent_for_hours_and_for_days(world: World) -> None:
    world.requests(NOON - HOUR, HOUR)
    alert = world.alert("no-data")
    alert.evaluate(NOON + 20 * HOUR)
    assert alert.firing() == {"No data"}
    # After a day it is no longer news.
    alert.evaluate(NOON + 25 * HOUR)
    assert not alert.firing()


def test_no_data_of_a_pause(world: World) -> None:
    world.requests(NOON, 10 * MINUTE)
    world.requests(NOON + 15 * MINUTE, 10 * MINUTE)
    assert not world.alert("no-data").run(at(0), at(25))


# Error budgets.

BURN = {"burn-1h": (14.4, HOUR), "burn-6h": (6, 6 * HOUR), "burn-3d": (1, 3 * DAY)}


@pytest.mark.parametrize("name", BURN)
def test_burn_rate(world: World, name: str) -> None:
    limit, window = BURN[name]
    short = window / 12
    begin = NOON - window
    world.objective(availability=0.99)
    world.requests(begin, window, failing=limit * 0.01 * 1.5)
    world.requests(NOON, window, failing=0.0)
    alert = world.alert(name)
    (fired,) = alert.run(NOON - short, NOON)
    assert fired[1] == {"shop"}
    # The errors stop: the short window is over soon, while the long one is still full of them.
    (recovered,) = alert.run(NOON, NOON + short + duration(alert.rule["interval"]))
    assert recovered[1] == set()


@pytest.mark.parametrize("name", BURN)
def test_burn_rate_below_the_threshold(world: World, name: str) -> None:
    limit, window = BURN[name]
    world.objective(availability=0.99)
    # A stricter service burns, one with a looser objective and one below the threshold do not.
    world.objective("strict", availability=0.995)
    world.objective("loose", availability=0.9)
    for service in ("", "strict", "loose"):
        world.requests(NOON - window, window, failing=limit * 0.01 * 0.9, service=service)
    changes = world.alert(name).run(NOON - window / 24, NOON)
    assert [names for _, names in changes] == [{"strict"}]


@pytest.mark.parametrize("name", BURN)
def test_burn_rate_of_errors_that_are_over(world: World, name: str) -> None:
    _, window = BURN[name]
    world.objective()
    world.requests(NOON - window, window / 2, failing=1)
    world.requests(NOON - window / 2, window / 2)
    assert not world.alert(name).run(NOON - window / 24, NOON)


@pytest.mark.parametrize("name", BURN)
def test_burn_rate_of_errors_that_just_began(world: World, name: str) -> None:
    """All of the short window, but too little of the long one."""
    limit, window = BURN[name]
    world.objective(availability=0.99)
    world.requests(NOON - window, window * 11 / 12)
    # A twelfth of the window at so many times the limit.
    world.requests(NOON - window / 12, window / 12, failing=min(1, limit * 0.01 * 6))
    assert not world.alert(name).run(NOON, NOON)


def test_burn_rate_of_too_few_requests_or_without_objective(world: World) -> None:
    world.requests(NOON - HOUR, HOUR, per_minute=1, failing=1)
    assert not world.alert("burn-1h").run(at(-30), at(0))
    world.objective()
    assert not world.alert("burn-1h").run(at(-30), at(0))
    world.requests(NOON - HOUR, HOUR, per_minute=1, failing=1)
    assert world.alert("burn-1h").run(at(-5), at(0))


# Cost.


def test_cost(world: World) -> None:
    world.requests(NOON - 8 * DAY, 8 * DAY, per_minute=1, usd_per_minute=0.5)
    world.requests(NOON, 30 * MINUTE, usd_per_minute=2)
    world.requests(NOON + 30 * MINUTE, HOUR, usd_per_minute=0.5)
    # Of ten minutes seven are enough; it is looked at every five minutes, twice.
    assert world.alert("cost").run(at(-30), at(89)) == [(at(15), {"Cost rises"}), (at(35), set())]


@pytest.mark.parametrize(
    ("before", "now", "fires"),
    [
        (0.5, 1.45, False),
        (0.5, 1.55, True),
        # Pennies: forty times as much, and less than three dollars an hour.
        (0.001, 0.04, False),
        (0.001, 0.06, True),
        # Nothing was paid for before.
        (0, 0.04, False),
        (0, 0.06, True),
    ],
)
def test_cost_near_the_threshold(world: World, before: float, now: float, fires: bool) -> None:
    world.requests(NOON - 8 * DAY, 8 * DAY, per_minute=1, usd_per_minute=before)
    world.requests(NOON, HOUR, usd_per_minute=now)
    assert bool(world.alert("cost").run(at(0), at(59))) == fires


def test_cost_on_the_first_day(world: World) -> None:
    world.requests(NOON - 23 * HOUR, 23 * HOUR, per_minute=1, usd_per_minute=0.1)
    world.requests(NOON, 30 * MINUTE, usd_per_minute=5)
    assert not world.alert("cost").run(at(0), at(29))


def test_cost_after_two_days(world: World) -> None:
    """The baseline is that of the time since the first span."""
    world.requests(NOON - 2 * DAY, 2 * DAY, per_minute=1, usd_per_minute=0.5)
    world.requests(NOON, HOUR, usd_per_minute=1.2)
    assert not world.alert("cost").run(at(0), at(59))
    world.requests(NOON, HOUR, usd_per_minute=0.8)
    assert world.alert("cost").run(at(0), at(59))


# Budgets.

# The first of the month before this one.
NEXT_MONTH = dt.datetime.now(dt.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
MONTH = (NEXT_MONTH - DAY).replace(day=1)


@pytest.mark.parametrize(("name", "share"), [("budget-80", 0.8), ("budget-100", 1.0)])
def test_budget(world: World, name: str, share: float) -> None:
    world.budget("acme", 100)
    world.budget("", 1000)
    world.requests(MONTH - 10 * DAY, 10 * DAY, per_minute=1, usd_per_minute=1)
    # A dollar an hour; a tenant without a budget of its own counts for all only.
    world.requests(MONTH, 10 * DAY, per_minute=1, usd_per_minute=1 / 60)
    world.requests(MONTH, 3 * HOUR, tenant="other", per_minute=1, usd_per_minute=1)
    world.requests(NEXT_MONTH, HOUR, usd_per_minute=1 / 60)
    spent = MONTH + share * 100 * HOUR
    alert = world.alert(name)
    (fired,) = alert.run(spent - 2 * HOUR + LATER, spent + 2 * HOUR)
    assert fired[1] == {"acme"}
    assert abs(fired[0] - spent) <= HOUR + duration(alert.rule["interval"])
    # Until the month is over.
    assert alert.run(NEXT_MONTH - HOUR + LATER, NEXT_MONTH + HOUR)[-1] == (NEXT_MONTH + LATER, set())


def test_budget_of_all(world: World) -> None:
    world.budget("", 100)
    for tenant in ("", "a", "b"):
        world.requests(MONTH, DAY, tenant=tenant, per_minute=1, usd_per_minute=30 / 1440)
    assert world.alert("budget-80").run(MONTH + 25 * HOUR, MONTH + 26 * HOUR)[0][1] == {"(all)"}
    assert not world.alert("budget-100").run(MONTH + 25 * HOUR, MONTH + 26 * HOUR)


def test_no_budget_no_alert(world: World) -> None:
    world.requests(MONTH, DAY, usd_per_minute=100)
    assert not world.alert("budget-80").run(MONTH + 23 * HOUR, MONTH + DAY)
    world.budget("other", 1)
    assert not world.alert("budget-100").run(MONTH + 23 * HOUR, MONTH + DAY)


# The files.


def test_the_file_is_the_one_that_is_written() -> None:
    written = (ROOT / "grafana/provisioning/alerting/rules.yaml").read_text()
    assert written == alerts.rules_file(), "run python -m spanhouse.dashboards"


def test_every_statement_is_used() -> None:
    used = {rule.statement for group in alerts.groups() for rule in group.rules}
    assert used == {file.stem for file in (ROOT / "sql/alerts").glob("*.sql")}


def test_groups_have_what_grafana_wants() -> None:
    content = provisioned("rules.yaml")
    assert content["apiVersion"] == 1
    assert set(content) == {"apiVersion", "groups"}
    names = [group["name"] for group in content["groups"]]
    assert len(set(names)) == len(names)
    for group in content["groups"]:
        assert set(group) == {"orgId", "name", "folder", "interval", "rules"}
        # Grafana evaluates at multiples of 10 seconds.
        assert duration(group["interval"]).total_seconds() % 10 == 0
        assert group["rules"]
    titles = [rule["title"] for rule in RULES.values()]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("uid", RULES)
def test_rules_have_what_grafana_wants(uid: str) -> None:
    rule = RULES[uid]
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", uid)
    assert set(rule) - {"interval"} == {
        "uid", "title", "condition", "data", "noDataState", "execErrState", "for", "labels", "annotations",
        "isPaused",
    }  # fmt: skip
    assert rule["noDataState"] in ("NoData", "Alerting", "OK", "KeepLast")
    assert rule["execErrState"] in ("Error", "Alerting", "OK", "KeepLast")
    assert duration(rule["for"]) % duration(rule["interval"]) == dt.timedelta(0)
    assert rule["isPaused"] is False
    query, threshold = rule["data"]
    for node in rule["data"]:
        assert set(node) == {"refId", "queryType", "datasourceUid", "relativeTimeRange", "model"}
        assert node["model"]["refId"] == node["refId"]
        assert set(node["relativeTimeRange"]) == {"from", "to"}
    assert rule["condition"] == threshold["refId"]
    assert threshold["datasourceUid"] == threshold["model"]["datasource"]["uid"] == "__expr__"
    assert threshold["model"]["expression"] == query["refId"]
    (source,) = (
        source
        for file in (ROOT / "grafana/provisioning/datasources").iterdir()
        for source in yaml.safe_load(file.read_text())["datasources"]
        if source["uid"] == query["datasourceUid"]
    )
    assert query["model"]["datasource"] == CLICKHOUSE == {"type": source["type"], "uid": source["uid"]}
    assert query["relativeTimeRange"]["from"] > query["relativeTimeRange"]["to"] >= 0
    # A table, not a time series. Grafana expands no variable here, and there is no clock but its own.
    assert (query["model"]["format"], query["model"]["queryType"]) == (1, "table")
    macros = set(re.findall(r"\$\w+", query["model"]["rawSql"]))
    assert macros <= {"$__fromTime", "$__toTime"}
    assert "$__toTime" in macros
    assert not re.search(r"\bnow\w*\(|\$\{", query["model"]["rawSql"])
    # Grafana puts environment variables into these.
    for text in (rule["title"], rule["uid"], *rule["labels"].values()):
        assert "$" not in text


@pytest.mark.parametrize("uid", RULES)
def test_alerts_say_what_to_do(uid: str, world: World) -> None:
    rule = RULES[uid]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert anchor in anchors(ROOT / page)
    # A label that the statement does not give would be empty in the text.
    text = " ".join(rule["annotations"].values())
    answer = world._ask(re.sub(r"\$__\w+", "toDateTime(0)", rule["data"][0]["model"]["rawSql"]))
    given = {column["name"] for column in answer["meta"]}
    assert set(re.findall(r"\$labels\.(\w+)", text)) <= given
    assert set(re.findall(r"\$values\.(\w+)", text)) <= {"A"}
    assert "${" not in text


def test_the_documents_list_the_alerts() -> None:
    text = (ROOT / "docs/dashboards.md").read_text()
    listed = re.findall(r"^\| ([^|`]+) \| [^|]+ \| (critical|warning) \|$", text, re.MULTILINE)
    assert listed == [(rule["title"], rule["labels"]["severity"]) for rule in RULES.values()]


def test_contact_points_come_from_the_environment() -> None:
    content = provisioned("contact_points.yaml")
    assert content["apiVersion"] == 1
    (point,) = content["contactPoints"]
    receivers = {receiver["type"]: receiver for receiver in point["receivers"]}
    assert set(receivers) == {"slack", "webhook"}
    for receiver in receivers.values():
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", receiver["uid"])
    variables = {kind: receiver["settings"]["url"] for kind, receiver in receivers.items()}
    assert variables == {"slack": "$SPANHOUSE_SLACK_URL", "webhook": "$SPANHOUSE_WEBHOOK_URL"}


def test_policies_lead_to_a_contact_point() -> None:
    content = provisioned("policies.yaml")
    assert content["apiVersion"] == 1
    (policy,) = content["policies"]
    known = {point["name"] for point in provisioned("contact_points.yaml")["contactPoints"]}
    severities = {rule["labels"]["severity"] for rule in RULES.values()}
    for route in (policy, *policy["routes"]):
        assert route["receiver"] in known
        for name, operator, value in route.get("object_matchers", ()):
            assert (name, operator) == ("severity", "=")
            assert value in severities
        for key in ("group_wait", "group_interval", "repeat_interval"):
            assert re.fullmatch(r"\d+[smhd]", route.get(key, "1s"))
