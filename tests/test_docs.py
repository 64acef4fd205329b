"""What the documents say is so: links, commands, queries, and the table of metrics."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from spanhouse import metrics
from spanhouse.cli import _parser
from tests.harness import Instance

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
DOCUMENTS += sorted((ROOT / "docs").glob("*.md"))


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """The names that GitHub gives a document's headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_are_understood(document: Path) -> None:
    for block in blocks(document, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["spanhouse"]:
                words = words[: words.index(">")] if ">" in words else words
                _parser().parse_args(words[1:])


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    (commands,) = (action for action in _parser()._actions if action.choices)
    assert commands.choices
    for command in commands.choices:
        assert f"spanhouse {command} " in text, command


def test_the_table_of_metrics_is_that_of_the_code() -> None:
    rows = re.findall(
        r"^\| `(spanhouse_\w+)` \| (\w+) \|([^|]*)\|", (ROOT / "docs/operations.md").read_text(), re.M
    )
    documented = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    exported = {}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            exported[name] = (family.type, tuple(metric._labelnames))
    assert documented == exported


def test_the_columns_are_those_of_the_tables(tmp_path: Path) -> None:
    text = (ROOT / "docs/data-model.md").read_text()
    events, rollups = text.split("### agent_metrics_1m", 1)
    rows = re.findall(r"^\| `([\w.]+)` \| ([^|]+) \|", events, re.M)
    rollup_cells = re.findall(r"^\| (`[^|]+) \|", rollups.split("Sums add up")[0], re.M)
    documented = re.findall(
        r"`(\w+)`", " ".join(rollup_cells).replace("`agent_metrics_1h`", "").replace("`agent_metrics_1d`", "")
    )
    with Instance(tmp_path / "data") as instance:
        described = {row["name"]: row["type"] for row in instance.sql("DESCRIBE agent_events")}
        assert [name for name, _ in rows] == list(described)
        for name, kind in rows:
            if kind.startswith("`"):
                assert kind == f"`{described[name]}`", name
        for table, time in (
            ("agent_metrics_1m", "minute"),
            ("agent_metrics_1h", "hour"),
            ("agent_metrics_1d", "day"),
        ):
            names = {row["name"] for row in instance.sql(f"DESCRIBE {table}")}
            assert names == set(documented) - {"minute", "hour", "day"} | {time}


def test_queries_run(tmp_path: Path) -> None:
    queries = [(document.name, query) for document in DOCUMENTS for query in blocks(document, "sql")]
    assert len(queries) > 5
    with Instance(tmp_path / "data") as instance:
        for name, query in queries:
            try:
                instance.sql(query)
            except OSError as error:
                pytest.fail(f"{name}: {query}\n{error}")
