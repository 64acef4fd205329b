import time

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from spanhouse.batch import DIMENSIONS, ValueType
from spanhouse.errors import UserError
from spanhouse.processors.guard import OTHER, Guard
from spanhouse.processors.normalize import Normalize
from tests.processors.frames import START_NS, make_batch

DAY_NS = 86_400 * 10**9
NOW_NS = START_NS + DAY_NS // 2
normalize = Normalize()


def guard(**settings: object) -> Guard:
    return Guard(**settings, now_ns=lambda: NOW_NS)  # type: ignore[arg-type]


def test_the_clock_is_the_system_s() -> None:
    start = time.time_ns() - 10**9
    assert Guard()(make_batch([{"start_ns": start, "end_ns": start}]))["reject"].to_list() == [None]


REJECTED = [
    ({"trace_id": ""}, "trace_id must be 16 bytes that are not all zero"),
    ({"trace_id": "0" * 32}, "trace_id must be 16 bytes that are not all zero"),
    ({"trace_id": "ab" * 8}, "trace_id must be 16 bytes that are not all zero"),
    ({"span_id": ""}, "span_id must be 8 bytes that are not all zero"),
    ({"span_id": "0" * 16}, "span_id must be 8 bytes that are not all zero"),
    ({"span_id": "ab" * 16}, "span_id must be 8 bytes that are not all zero"),
    ({"parent_span_id": "ab"}, "parent_span_id must be empty or 8 bytes"),
    ({"start_ns": 0, "end_ns": 5}, "start_time_unix_nano must not be zero"),
    ({"start_ns": 1}, "start_time_unix_nano is more than 90 d in the past"),
    ({"start_ns": 2**64 - 1, "end_ns": 2**64 - 1}, "start_time_unix_nano is more than 1 d in the future"),
    ({"end_ns": 0}, "end_time_unix_nano is before start_time_unix_nano"),
    ({"end_ns": START_NS - 1}, "end_time_unix_nano is before start_time_unix_nano"),
    ({"end_ns": START_NS + DAY_NS + 1}, "the span lasts longer than 24 h"),
    ({"end_ns": 2**64 - 1}, "the span lasts longer than 24 h"),
]


@pytest.mark.parametrize(("span", "reason"), REJECTED)
def test_rejects(span: dict[str, object], reason: str) -> None:
    check = guard()
    batch = check(make_batch([{}, span, {}]))
    assert batch["reject"].to_list() == [None, reason, None]
    assert reason in check.reasons.values()


def test_what_is_just_valid_stays() -> None:
    batch = make_batch(
        [
            {"end_ns": START_NS},
            {"end_ns": START_NS + DAY_NS},
            {"parent_span_id": "ab" * 8},
            {"start_ns": NOW_NS - 90 * DAY_NS, "end_ns": NOW_NS},
            {"start_ns": NOW_NS + DAY_NS, "end_ns": NOW_NS + DAY_NS},
        ]
    )
    batch = batch.with_columns(end_ns=pl.min_horizontal("end_ns", pl.col("start_ns") + DAY_NS))
    assert guard()(batch).equals(batch)


def test_the_first_reason_stays() -> None:
    batch = guard()(
        make_batch([{"reject": "decoder says no", "trace_id": ""}, {"trace_id": "", "start_ns": 0}])
    )
    assert batch["reject"].to_list() == ["decoder says no", REJECTED[0][1]]


def test_limits_are_settings() -> None:
    strict = guard(max_age_days=0.1, max_duration_hours=1)
    batch = strict(make_batch([{}, {"start_ns": NOW_NS, "end_ns": NOW_NS + DAY_NS // 2}]))
    assert batch["reject"].to_list() == [
        "start_time_unix_nano is more than 0.1 d in the past",
        "the span lasts longer than 1 h",
    ]


unsigned = st.integers(0, 2**64 - 1)
times = st.one_of(unsigned, st.integers(START_NS - 2 * DAY_NS, START_NS + 2 * DAY_NS))
hexes = st.one_of(st.binary(max_size=20).map(bytes.hex), st.just("ab" * 8), st.just("ab" * 16))


@given(st.lists(st.tuples(hexes, hexes, hexes, times, times), min_size=1, max_size=5))
@settings(max_examples=200, deadline=None)
def test_what_passes_is_valid_and_nothing_else(spans: list[tuple[str, str, str, int, int]]) -> None:
    names = ("trace_id", "span_id", "parent_span_id", "start_ns", "end_ns")
    batch = guard()(make_batch([dict(zip(names, span, strict=True)) for span in spans]))
    for reason, (trace, span, parent, start, end) in zip(batch["reject"], spans, strict=True):
        valid = (
            len(trace) == 32
            and int(trace, 16) > 0
            and len(span) == 16
            and int(span, 16) > 0
            and len(parent) in (0, 16)
            and max(NOW_NS - 90 * DAY_NS, 1) <= start <= NOW_NS + DAY_NS
            and 0 <= end - start <= DAY_NS
        )
        assert (reason is None) == valid


texts = st.text(st.characters(codec="utf-8"), max_size=150)


@given(st.lists(texts, min_size=1, max_size=4), st.integers(64, 200))
@settings(max_examples=150, deadline=None)
def test_long_texts_are_cut(values: list[str], limit: int) -> None:
    attrs = [{"key": f"k{i}", "value": value, "type": 1} for i, value in enumerate(values)]
    batch = make_batch(
        [
            {
                "name": values[0],
                "attrs": attrs,
                "events": [{"name": values[0], "attrs": attrs}],
                "links": [{"attrs": attrs}],
            }
        ]
    )
    cut = guard(max_value_bytes=limit)(batch)
    shown = [a["value"] for a in cut["attrs"][0].to_list()]
    assert [a["value"] for a in cut["events"][0][0]["attrs"]] == shown
    assert [a["value"] for a in cut["links"][0][0]["attrs"]] == shown
    assert cut["name"][0] == cut["events"][0][0]["name"] == shown[0]
    for before, after in zip(values, shown, strict=True):
        assert len(after.encode()) <= limit
        kept, marker, note = after.rpartition("…[")
        if len(before.encode()) <= limit:
            assert after == before
        else:
            assert marker
            assert before.startswith(kept)
            assert len(before.encode()) - len(kept.encode()) == int(note.removesuffix(" bytes cut]"))
    assert guard(max_value_bytes=limit)(cut).equals(cut)


def test_json_that_is_cut_is_a_string() -> None:
    long = '["' + "x" * 100 + '"]'
    kinds = (ValueType.ARRAY, ValueType.KVLIST, ValueType.BYTES, ValueType.STRING)
    attrs = [{"key": "k", "value": long, "type": int(kind)} for kind in kinds]
    attrs += [{"key": "short", "value": "[]", "type": int(ValueType.ARRAY)}]
    cut = guard(max_value_bytes=64)(make_batch([{"attrs": attrs}]))["attrs"][0].to_list()
    assert [a["type"] for a in cut] == [ValueType.STRING] * 4 + [ValueType.ARRAY]


def test_cuts_raw_columns_keys_and_dimensions() -> None:
    batch = make_batch([{"span:gen_ai.request.model": "m" * 300, "attrs": {"k" * 300: "v"}}])
    cut = guard(max_value_bytes=280)(batch.with_columns(model=pl.lit("é" * 150)))
    assert cut["model"][0] == "é" * 128
    assert cut["span:gen_ai.request.model"][0].endswith(" bytes cut]")
    assert len(cut["attrs"][0][0]["key"]) < 300


def test_numbers_that_cannot_be() -> None:
    batch = normalize(make_batch([{}, {}, {}])).with_columns(
        tokens_prompt=pl.Series([10**12, 10**12 + 1, 2**64 - 1], dtype=pl.UInt64),
        ttft_ms=pl.Series([86_400_000.0, 86_400_001.0, -1.0]),
    )
    batch = guard()(batch)
    assert batch["tokens_prompt"].to_list() == [10**12, 0, 0]
    assert batch["ttft_ms"].to_list() == [86_400_000.0, None, None]
    assert batch["reject"].null_count() == 3


def models(check: Guard, names: list[str | None]) -> list[str]:
    batch = make_batch([{} for _ in names]).with_columns(model=pl.Series(names, dtype=pl.String))
    return check(batch)["model"].to_list()


def test_cardinality() -> None:
    check = guard(max_dimension_values=2)
    assert models(check, ["a", "", "b", "c", "a", OTHER, "d"]) == ["a", "", "b", OTHER, "a", OTHER, OTHER]
    assert models(check, ["e", "b", "a"]) == [OTHER, "b", "a"]
    assert models(guard(cardinality={"model": 1}), ["a", "b"]) == ["a", OTHER]
    assert models(guard(cardinality={"agent": 1}), ["a", "b"]) == ["a", "b"]


def test_cardinality_is_by_column_and_raw_columns_stay() -> None:
    batch = make_batch([{"span:gen_ai.request.model": name} for name in "abc"])
    batch = guard(max_dimension_values=1)(
        batch.with_columns(model=pl.Series(["a", "b", "c"]), env=pl.lit("p"))
    )
    assert batch["model"].to_list() == ["a", OTHER, OTHER]
    assert batch["env"].to_list() == ["p"] * 3
    assert batch["span:gen_ai.request.model"].to_list() == ["a", "b", "c"]


def test_rejected_spans_take_no_room() -> None:
    batch = make_batch([{"trace_id": ""}, {}]).with_columns(model=pl.Series(["a", "b"]))
    assert guard(max_dimension_values=1)(batch)["model"].to_list() == ["a", "b"]


def test_seed() -> None:
    check = guard(max_dimension_values=2)
    check.seed({"model": ["x", "y", "z"], "no dimension": ["a"]})
    assert models(check, ["a", "x", "y", "z"]) == [OTHER, "x", "y", OTHER]


def test_forgets_what_is_unseen() -> None:
    now = NOW_NS
    check = Guard(max_dimension_values=2, now_ns=lambda: now)
    assert models(check, ["a", "b", "c"]) == ["a", "b", OTHER]
    now += DAY_NS // 2
    assert models(check, ["a", "c"]) == ["a", OTHER]
    now += DAY_NS // 2
    assert models(check, ["c", "d", "a"]) == ["c", OTHER, "a"]


def test_counts_what_it_replaces() -> None:
    def count() -> float:
        return REGISTRY.get_sample_value("spanhouse_cardinality_drops_total", {"column": "model"}) or 0

    before = count()
    models(guard(max_dimension_values=1), ["a", "b", "b", "c", "a"])
    assert count() - before == 3


@given(st.lists(st.lists(st.sampled_from(["", *map(str, range(30))]), min_size=1, max_size=12), max_size=8))
@settings(max_examples=100, deadline=None)
def test_never_more_values_than_the_limit(batches: list[list[str]]) -> None:
    check = guard(max_dimension_values=5)
    known: set[str] = set()
    for names in batches:
        for before, after in zip(names, models(check, names), strict=True):
            assert after in (before, OTHER)
            assert after == before or before not in known
            known |= {after} - {"", OTHER}
    assert len(known) <= 5


def test_unknown_dimension() -> None:
    with pytest.raises(UserError, match="modle"):
        Guard(cardinality={"modle": 5})


def test_batches_in_any_stage() -> None:
    for batch in (make_batch([{}]), normalize(make_batch([{}])), make_batch([{}]).clear()):
        assert guard()(batch).equals(batch)
    assert set(DIMENSIONS) <= set(normalize(make_batch([{}])).columns)
