import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from spanhouse.config import BUILT_IN, Address, Config, build_processors, check, load
from spanhouse.errors import UserError
from spanhouse.processors.guard import Guard
from spanhouse.processors.normalize import Normalize
from spanhouse.processors.price import Price
from spanhouse.processors.scrub import Scrub
from tests.processors.frames import make_batch

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(tmp_path)  # undoes what a test's modules leave behind

    def write(text: str, name: str = "spanhouse.yaml") -> Path:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return path

    return write


def problems(path: Path) -> list[str]:
    """`line: text` of each problem."""
    return [problem.removeprefix(f"{path}:") for problem in check(path)]


def test_defaults() -> None:
    config = load(None, {})
    assert config == Config()
    assert config.data == Path("spanhouse-data")
    addresses = (
        config.page.listen,
        config.otlp_grpc,
        config.otlp_http,
        config.clickhouse_http,
        config.metrics,
    )
    assert [str(a) for a in addresses] == [f"127.0.0.1:{port}" for port in (8080, 4317, 4318, 8123, 9464)]
    assert config.page.grafana == "http://localhost:3000"
    assert config.service.pipelines.traces.processors == ["normalize", "price", "scrub", "guard"]


def test_the_flag_of_the_page_leaves_its_other_settings(write: Any) -> None:
    config = load(write("page: {grafana: 'https://grafana.example/'}"), {"page": "[::]:80"})
    assert config.page.listen == Address("::", 80)
    assert config.page.grafana == "https://grafana.example"
    with pytest.raises(UserError, match="--page: expected host:port"):
        load(None, {"page": "8080"})


def test_where_this_machine_reaches_a_server() -> None:
    listens = ("0.0.0.0:1", "[::]:2", "127.0.0.1:3", "box:4")
    local = [str(Address.parse(text).local) for text in listens]
    assert local == ["127.0.0.1:1", "[::1]:2", "127.0.0.1:3", "box:4"]


def test_an_empty_file_is_the_defaults(write: Any) -> None:
    assert load(write(""), {}) == Config()
    assert load(write("receivers:\nservice: {}\n"), {}) == Config()


def test_a_whole_file(write: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TEST_HASH_KEY", "abc")
    monkeypatch.setenv("TEST_PORT", "9999")
    write("columns:\n  tenant_id:\n    - span: acme.customer\n", "acme.yaml")
    write("def add_tier(batch):\n    return batch\n", "tier_module.py")
    path = write(
        """
        data: store
        otlp-grpc: 0.0.0.0:0
        otlp_http: "[::1]:4318"
        metrics: localhost:${env:TEST_PORT}
        receivers:
          otlp: {max_body_bytes: 1000, max_queue_bytes: 5000}
        processors:
          normalize: {mappings: [acme.yaml]}
          price:
          scrub: {hash_key: "${env:TEST_HASH_KEY}", user_id_keys: [acme.user]}
          guard: {max_age_days: 10, cardinality: {tenant_id: 5000}}
          tier: {function: "tier_module:add_tier"}
        exporters:
          clickhouse: {user: "${env:TEST_NONE:-reader}", password: 12345, max_rows: 10, max_seconds: 5}
        service:
          pipelines:
            traces:
              receivers: [otlp]
              processors: [normalize, price, tier, scrub, guard]
              exporters: [clickhouse]
        """
    )
    assert check(path) == []
    config = load(path, {"metrics": "127.0.0.1:1"})
    assert config.data == tmp_path / "store"
    assert config.otlp_grpc == Address("0.0.0.0", 0)
    assert config.otlp_http == Address("::1", 4318)
    assert str(config.otlp_http) == "[::1]:4318"
    assert config.metrics == Address("127.0.0.1", 1)
    assert (config.max_body_bytes, config.max_queue_bytes) == (1000, 5000)
    assert config.exporters.clickhouse.user == "reader"
    assert config.exporters.clickhouse.password == "12345"
    assert config.exporters.clickhouse.max_memory_bytes == Config().exporters.clickhouse.max_memory_bytes
    built = build_processors(config, hash_key="unused")
    assert [name for name, _ in built] == ["normalize", "price", "tier", "scrub", "guard"]
    batch = make_batch([{"span:acme.customer": "x", "attrs": {"acme.user": "ann"}}])
    for _, processor in built:
        batch = processor(batch)
    assert batch["tenant_id"][0] == "x"
    assert batch["user_id_hash"][0] == Scrub("abc")(make_batch([{"span:user.id": "ann"}]))["user_id_hash"][0]


def test_the_key_of_the_data_folder_is_used_without_one() -> None:
    def hashed(config: Config, key: str) -> str:
        scrub = dict(build_processors(config, hash_key=key))["scrub"]
        text: str = scrub(make_batch([{"span:user.id": "ann"}]))["user_id_hash"][0]
        return text

    assert hashed(Config(), "a") == hashed(Config(), "a") != hashed(Config(), "b")
    configured = Config(processors={"scrub": {"hash_key": "b"}})
    assert hashed(configured, "a") == hashed(Config(), "b")


def test_what_a_mapping_takes_for_the_user_is_hashed(write: Any) -> None:
    write("columns:\n  user_id_hash:\n    - span: acme.uid\n", "acme.yaml")
    built = build_processors(
        load(write("processors: {normalize: {mappings: [acme.yaml]}}"), {}), hash_key="k"
    )
    batch = make_batch([{"span:acme.uid": "5f4dcc3b5aa765d61d8327deb882cf99"}])
    for _, processor in built:
        batch = processor(batch)
    assert "5f4dcc3b5aa765d61d8327deb882cf99" not in str(batch.to_dicts())


# File, and what is said about it.
WRONG = {
    "otlp-grpc: localhost": (
        "1: otlp-grpc: expected host:port, e.g. 127.0.0.1:4317 or [::1]:4317, not localhost"
    ),
    "metrics: ':9464'": "1: metrics: expected host:port",
    "page: 127.0.0.1:8080": "1: page: expected keys with values",
    "page:\n  listen: 8080": "2: page.listen: expected host:port",
    "page:\n  grafana: localhost:3000": "2: page.grafana: expected an address such as http://localhost:3000",
    "page:\n  grafna: x": '2: page.grafna: unknown key; did you mean "grafana"?',
    "metrics: 1.2.3.4:65536": "1: metrics: expected host:port",
    "metrics: '::1:9464'": "1: metrics: expected host:port",
    "\nmetrics: 9464": "2: metrics: expected host:port",
    "otlp-gprc: 1.2.3.4:1": '1: otlp-gprc: unknown key; did you mean "otlp-grpc"?',
    "colour: red": "1: colour: unknown key; known are data, page, otlp-grpc,",
    "data: a\ndata: b": "2: data: stands here twice, first in line 1",
    "otlp-grpc: a:1\notlp_grpc: a:1": "2: otlp_grpc: is given twice, with - and with _",
    "data: [1, 2": "1: is not YAML: expected ',' or ']'",
    "a: b: c": "1: is not YAML: mapping values are not allowed here",
    "- a": "1: expected keys with values",
    "data: !!python/object:os.system x": "1: data: cannot be read: could not determine a constructor",
    "receivers: 5": "1: receivers: expected keys with values",
    "receivers:\n  otlp:\n    max_body_bytes: much": (
        "3: receivers.otlp.max_body_bytes: expected a valid integer"
    ),
    "receivers: {otlp: {max_body_bytes: 0}}": (
        "1: receivers.otlp.max_body_bytes: expected a number greater than 0"
    ),
    "receivers: {otlp: {max-body-bytes: 5}}": 'did you mean "max_body_bytes"?',
    "processors: [guard]": "1: processors: expected processors by name",
    "processors:\n\n  guard:\n    max_age_days: 1\n    cardinalty: {}": (
        '5: processors.guard.cardinalty: unknown key; did you mean "cardinality"?'
    ),
    "processors: {guard: {now_ns: 5}}": "1: processors.guard.now_ns: unknown key",
    "processors: {guard: {cardinality: {tenant_id: lots}}}": (
        "1: processors.guard.cardinality.tenant_id: expected a valid integer"
    ),
    "processors: {guard: {cardinality: {tenant: 5}}}": (
        "1: processors.guard: cardinality: tenant is no dimension"
    ),
    "processors:\n  gaurd: {}": (
        '2: processors.gaurd: unknown processor; did you mean "guard"? (one of your own'
    ),
    "processors:\n  mine: {function: nothing}": (
        '2: processors.mine.function: expected "module:function", not "nothing"'
    ),
    "processors: {mine: {function: 'no_such_module:f'}}": "cannot import no_such_module: ModuleNotFoundError",
    "processors: {mine: {function: 'os:nothing'}}": "os has been imported, but nothing in it does not exist",
    "processors: {mine: {function: 'os:sep'}}": "os has been imported, but sep in it is not callable",
    "processors: {mine: {function: 'os:getcwd', x: 1}}": (
        "1: processors.mine.x: unknown key; known are function"
    ),
    "processors: {normalize: {mappings: [none.yaml]}}": "none.yaml: cannot read the mapping",
    "processors:\n  scrub:\n    hash_key: ${env:SPANHOUSE_TEST_NONE}": (
        "3: processors.scrub.hash_key: the environment variable SPANHOUSE_TEST_NONE is not set"
    ),
    "exporters: {clickhouse: {passwd: x}}": (
        '1: exporters.clickhouse.passwd: unknown key; did you mean "password"?'
    ),
    "service:\n  pipelines:\n    traces:\n      processors:\n        - normalize\n        - tier": (
        '6: service.pipelines.traces.processors[1]: "tier" is not defined'
    ),
    "service: {pipelines: {traces: {processors: [guard, guard]}}}": '"guard" is listed twice',
    "service: {pipelines: {traces: {receivers: [kafak]}}}": '"kafak" is not defined; did you mean "kafka"?',
    "service: {pipelines: {traces: {exporters: []}}}": "exporters: expected at least one of: clickhouse",
    "service: {pipelines: {metrics: {}}}": "1: service.pipelines.metrics: unknown key",
    "objectives:\n  - service: a\n    availability: 99.9": (
        "3: objectives[0].availability: expected a number less than 1"
    ),
    "objectives: [{latency_ms: -1}]": "1: objectives[0].latency_ms: expected a number greater than 0",
    "objectives:\n  - {service: a}\n  - {service: b, latency: 5}": (
        '3: objectives[1].latency: unknown key; did you mean "latency_ms"?'
    ),
    "objectives:\n  - {service: a}\n  - {service: a}": '3: objectives[1]: "a" is listed twice',
    "objectives: {service: a}": "1: objectives: expected a valid list",
    "budgets:\n  - {tenant_id: a}": "2: budgets[0].usd_per_month: is missing",
    "budgets: [{usd_per_month: inf}]": "1: budgets[0].usd_per_month: expected a finite number",
    "budgets: [{usd_per_month: 5}, {usd_per_month: 6}]": '1: budgets[1]: "" is listed twice',
    "budgets: [5]": "1: budgets[0]: expected keys with values",
    "a: &a [*a]": "1: a[0]: refers to itself",
    "? [a]\n: b": "1: : expected a name before the colon",
}


@pytest.mark.parametrize(("text", "problem"), WRONG.items())
def test_names_file_line_and_key(write: Any, text: str, problem: str) -> None:
    path = write(text)
    found = problems(path)
    assert any(problem in line for line in found), found
    with pytest.raises(UserError) as error:
        load(path, {})
    assert str(error.value).splitlines() == check(path)


def test_numbers_where_text_is_meant_stay_as_they_are_written(write: Any) -> None:
    path = write(
        """\
        processors: {scrub: {hash_key: 0x1F, drop_keys: [1.10]}, guard: {max_age_days: 1.50}}
        exporters: {clickhouse: {user: 7, password: 0123, max_rows: 1_000}}
        """
    )
    config = load(path, {})
    assert config.exporters.clickhouse.password == "0123"
    assert (config.exporters.clickhouse.user, config.exporters.clickhouse.max_rows) == ("7", 1000)
    assert config.processors["scrub"]["hash_key"] == "0x1F"
    assert config.processors["scrub"]["drop_keys"] == ["1.10"]
    assert config.processors["guard"]["max_age_days"] == 1.5


def test_names_each_known_processor_once(write: Any) -> None:
    path = write("processors: {guard: {}}\nservice: {pipelines: {traces: {processors: [tier]}}}")
    assert problems(path) == [
        '2: service.pipelines.traces.processors[0]: "tier" is not defined; '
        "known are normalize, price, scrub, guard"
    ]


def test_names_all_problems_in_order(write: Any) -> None:
    path = write(
        """\
        metrics: nowhere
        processors:
          guard: {max_age_days: -1, max_value_bytes: 1}
          scrub: {key: x}
        exporters: {clickhouse: {max_rows: some}}
        service: {pipelines: {traces: {processors: [normalise]}}}
        """
    )
    assert [re.match(r"(\d+): ([^ ]*):", line).groups() for line in problems(path)] == [  # type: ignore[union-attr]
        ("1", "metrics"),
        ("3", "processors.guard.max_age_days"),
        ("3", "processors.guard.max_value_bytes"),
        ("4", "processors.scrub.key"),
        ("5", "exporters.clickhouse.max_rows"),
        ("6", "service.pipelines.traces.processors[0]"),
    ]


def test_an_error_in_a_user_s_module(write: Any) -> None:
    write("x = 1 / 0\n", "broken_module.py")
    (problem,) = problems(write("processors: {mine: {function: 'broken_module:f'}}"))
    assert "cannot import broken_module: ZeroDivisionError: division by zero" in problem


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert check(tmp_path / "none.yaml") == [
        f"{tmp_path}/none.yaml:1: cannot be read: No such file or directory"
    ]


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"data: \xff")
    assert "is not UTF-8" in check(tmp_path / "x.yaml")[0]


def test_wrong_flags_are_named_as_flags() -> None:
    with pytest.raises(UserError, match=r"^--otlp-grpc: expected host:port"):
        load(None, {"otlp-grpc": "nowhere"})


@given(st.sampled_from(["localhost", "10.0.0.1", "a-b.example", "::1", "fe80::1"]), st.integers(0, 65535))
def test_addresses_read_back(host: str, port: int) -> None:
    assert Address.parse(str(Address(host, port))) == (host, port)


@given(st.text(max_size=80))
@settings(max_examples=300, deadline=None)
def test_any_text_gives_problems_or_a_configuration(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text)
    for problem in check(path):
        assert re.match(rf"{path}:\d+: .", problem)


def test_a_user_s_processor_may_be_lazy_but_must_give_a_frame(write: Any) -> None:
    write(
        """
        import polars as pl

        def lazy(batch):
            return batch.lazy().with_columns(pl.lit("x").alias("env"))

        def nothing(batch):
            batch.height
        """,
        "lazy_module.py",
    )
    path = write(
        """
        processors: {lazy: {function: "lazy_module:lazy"}, nothing: {function: "lazy_module:nothing"}}
        service: {pipelines: {traces: {processors: [lazy, nothing]}}}
        """
    )
    (_, lazy), (_, nothing) = build_processors(load(path, {}), hash_key="k")
    assert lazy(make_batch([{}]))["env"].to_list() == ["x"]
    with pytest.raises(TypeError, match="nothing returned NoneType"):
        nothing(make_batch([{}]))


def documented(name: str, language: str) -> list[str]:
    text = (DOCS / name).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_the_documented_file_holds_every_key_with_its_default(write: Any) -> None:
    (reference,) = documented("configuration.md", "yaml")
    path = write(reference)
    assert check(path) == []
    config = load(path, {})
    assert config.model_copy(update={"data": Path("spanhouse-data"), "processors": {}}) == Config()
    written = yaml.safe_load(reference)
    assert list(written["processors"]) == list(BUILT_IN)
    for name, factory in zip(BUILT_IN, (Normalize, Price, Scrub, Guard), strict=True):
        parameters = inspect.signature(factory).parameters.values()
        defaults = {p.name: p.default or None for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}
        assert {key: value or None for key, value in written["processors"][name].items()} == defaults
    assert set(written) == {name.replace("_", "-") for name in Config.model_fields}
    assert set(written["receivers"]["otlp"]) == set(type(config.receivers.otlp).model_fields)
    assert set(written["content"]) == set(type(config.content).model_fields)
    assert set(written["exporters"]["clickhouse"]) == set(type(config.exporters.clickhouse).model_fields)


def test_the_documents_name_every_reason_to_reject() -> None:
    text = (DOCS / "processors.md").read_text()
    assert re.findall(r"^- `([^`]+)`$", text, re.MULTILINE) == list(Guard().reasons.values())


def test_the_documented_processor_runs(write: Any) -> None:
    (module,) = documented("processors.md", "python")
    assert len(module.strip().splitlines()) <= 12
    write(module, "my_processors.py")
    path = write(documented("processors.md", "yaml")[0])
    assert check(path) == []
    built = build_processors(load(path, {}), hash_key="k")
    batch = make_batch([{"span:tenant.id": "acme"}, {"span:tenant.id": "free-7"}, {}])
    for _, processor in built:
        batch = processor(batch)
    assert isinstance(batch, pl.DataFrame)
    assert batch["variant"].to_list() == ["paid", "free", ""]
