import hashlib
import json
import re
import string
import uuid
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from spanhouse.batch import ValueType
from spanhouse.errors import UserError
from spanhouse.processors.normalize import Normalize
from spanhouse.processors.scrub import Scrub, keyed_hash
from spanhouse.processors.scrub_rules import DIGITS, EMAIL_KEYS, RULES, USER_ID_HASH, USER_ID_KEYS, Pattern
from tests.processors.frames import make_batch

DOCS = Path(__file__).parents[2] / "docs"
scrub = Scrub("a key for tests")


def masked(text: str) -> str:
    return scrub(make_batch([{"name": text}]))["name"][0]


def json_attribute(value: object) -> list[dict[str, object]]:
    kind = ValueType.KVLIST if isinstance(value, dict) else ValueType.ARRAY
    return [{"key": "j", "value": json.dumps(value, ensure_ascii=False), "type": int(kind)}]


# Text, and what it becomes.
FOUND = {
    "write to joe.doe+x@mail.example.co.uk.": "write to [email].",
    "Joe <joe@example.com>, 'ann@example.com'": "Joe <[email]>, '[email]'",
    "https://x.io/?to=joe%40example.com&n=1": "https://x.io/?to=[email]&n=1",
    "jürgen@bücher.de und o'brien@example.ie": "[email] und [email]",
    "user@163.com": "[email]",
    "\\u003cjoe@x.com\\u003e b\\u00fcro@b\\u00fccher.de": "\\u003c[email]\\u003e [email]",
    "joe\\u0040x.com": "[email]",
    "call +14155550123 now": "call [phone] now",
    "call +1 (415) 555-0123 or +44 20 7946 0958": "call [phone] or [phone]",
    "tel:+49-30-1234567, +33 6 12 34 56 78; +49 (0)30/1234567": "tel:[phone], [phone]; [phone]",
    "+1.415.555.0123": "[phone]",
    "(555) 123-4567 and 555-123-4567 and 1-555-123-4567": "[phone] and [phone] and [phone]",
    "555.123.4567": "[phone]",
    "Tel. 030 12345678, 0171/1234567, (030) 1234 5678": "Tel. [phone], [phone], [phone]",
    "06 12 34 56 78": "[phone]",
    "07700 900123 or 020 7946 0958": "[phone] or [phone]",
    "0049 30 1234567": "[phone]",
    "card 4111 1111 1111 1111 exp 12/26": "card [card] exp 12/26",
    "4111-1111-1111-1111,5500000000000004": "[card],[card]",
    "3782 822463 10005 123": "[card] 123",
    "pay 4222222222222.": "pay [card].",
    "key sk-ant-api03-AbCdEf123_456-789 end": "key [key] end",
    "sk-proj-abcDEF123456 sk-1234567890abcdef1234": "[key] [key]",
    "AKIAIOSFODNN7EXAMPLE": "[key]",
    "ghp_0123456789abcdefghij0123456789abcdef": "[key]",
    "github_pat_11ABCDEFG0123456789_abcdefghij": "[key]",
    "xoxb-123456789012-abcdefABCDEF": "[key]",
    "AIzaSyA-1234567890abcdefghijklmnopqrstuv": "[key]",
    "hf_abcdefghijklmnopqrstuvwxyz": "[key]",
    "glpat-abcdefghij0123456789": "[key]",
    "api_key=hunter2222 x": "api_key=[key] x",
    "PASSWORD: hunter2, user: bob": "PASSWORD: [key], user: bob",
    '{"password": "correct horse", "n": 1}': '{"password": "[key]", "n": 1}',
    '{\\"api_key\\": \\"abc\\", \\"n\\": 1}': '{\\"api_key\\": \\"[key]\\", \\"n\\": 1}',
    "OPENAI_API_KEY='abc def'": "OPENAI_API_KEY='[key]'",
    "password='it\\'s me', n=1": "password='[key]', n=1",
    "postgres://bob:s3cret@db.example.com:5432/x": "postgres://bob:[key]@db.example.com:5432/x",
    "postgres://bob:s3@cret@db/x": "postgres://bob:[key]@db/x",
    "https://x.io/a?page=2&token=0123456789abcdef&n=1": "https://x.io/a?page=2&token=[key]&n=1",
    "https://b.s3.aws.com/o?X-Amz-Signature=0f1e2d3c4b5a6978": "https://b.s3.aws.com/o?X-Amz-Signature=[key]",
    "https://x.blob.net/c?se=2026-01-01&sig=abc%2Bdefghijk%3D": "https://x.blob.net/c?se=2026-01-01&sig=[key]",
    "pypi-AgEIcHlwaS5vcmcCJDAxMjM0NTY3ODlhYmNkZWY whsec_abcdefghijklmnopqrstuvwx": "[key] [key]",
    "ya29.a0AfH6SMBabcdefghijklmnop": "[key]",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE+/=\n-----END RSA PRIVATE KEY-----\nbye": "[key]\nbye",
    "Authorization: Bearer abc.def-123": "Authorization: Bearer [token]",
    "authorization: Basic dXNlcjpwYXNz": "authorization: Basic [token]",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_DEF x": "[token] x",
}  # fmt: skip

# What looks like something but is nothing.
CLEAN = [
    "2024-01-15", "2024-01-15T10:30:00.123456789+01:00", "15/01/2024 10:30:00", "05.11.2024 10:30",
    "20240115103000", "1700000000", "1700000000000", "1700000000000000", "1700000000000000000",
    "Mon, 15 Jan 2024 10:30:00 +0200", "10:30:00.000+1000", "2024-01-15 10-30-00",
    "550e8400-e29b-41d4-a716-446655440000", "12345678-1234-1234-1234-123456789012",
    "bb9ccd40-79c2-c11b-4093-609377352800", "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "1.2.3", "v2024.10.01",
    "3.11.7", "10.0.19045.3803", "1.0.0-rc.1+build.123456789", "package@1.0.0-beta.rc",
    "@scope/package@4.17.21", "$1,234,567.89", "USD 0.0001234567", "0.4532015112830366",
    "-3.14159265358979", "+3.14159265358979", "1e+100000000", "claude-sonnet-4-20250514",
    "gpt-4o-2024-08-06", "gpt-4o-mini", "text-embedding-3-large", "models/gemini-2.5-flash",
    "anthropic.claude-3-5-sonnet-20241022-v2:0", "prompt_tokens=1234567890", "tokens: 128000 of 200000",
    "512 768 1024 2048 4096", "[101, 2054, 2003, 2026]", "192.168.100.200", "10.0.0.1:8080",
    "2001:0db8:85a3:0000:0000:8a2e:0370:7334", "00:1b:44:11:3a:b7",
    "/var/log/2024/01/15/app-0123456789.log", "C:\\Users\\bob\\file.txt", "https://example.com/a/b?c=d#e",
    "http://localhost:8080/v1", "user-1234567890", "order 4111111111111112", "4111111111111111abc",
    "call_abc123DEF456", "chatcmpl-123456789", "msg_01XFDUDYJgAACzvnptvVoYEL", "thread_abc123",
    "task-management-system-v2-final", "the bearer of bad news", "bearer authentication",
    "basic understanding", "password is required", "api_key: null, password: None", "max_tokens=4096",
    "https://x.io/?token=short&key=value",
    "next_page_token=abc", "PWD=/home/bob/project", "50% @ 3pm", "a@b", "1 + 2 = 3", "(1) 2 (3)", "12/26",
    "ISBN 978-3-16-148410-0",
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), FOUND.items())
def test_masks(text: str, expected: str) -> None:
    assert masked(text) == expected


@pytest.mark.parametrize("text", CLEAN)
def test_leaves_alone(text: str) -> None:
    assert masked(text) == text


def test_leaves_many_random_ids_alone() -> None:
    ids = [f"{i * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}" for i in range(1, 10_001)]
    uuids = [str(uuid.UUID(text)) for text in ids]
    attributes = [{"key": "k", "value": text, "type": 1} for text in ids + uuids]
    batch = make_batch([{"attrs": attributes}])
    assert scrub(batch)["attrs"].equals(batch["attrs"])


def test_user_ids_become_a_keyed_hash() -> None:
    batch = scrub(
        make_batch(
            [
                {"span:user.id": "ann", "span:gen_ai.request.model": "m"},
                {"attrs": {"user.id": "ann", "n": 1}},
                {"attrs": {"enduser.id": 42}},
                {"span:enduser.id~": "42"},
                {"resource": {"user.id": "ann"}, "events": [{"name": "e", "attrs": {"user.id": "bob"}}]},
                {"attrs": {"enduser.id": "x", "user.id": "ann"}, "resource:user.id": "y"},
                {"attrs": {"user.id": ""}},
                {},
            ]
        )
    )
    hashes = batch["user_id_hash"].to_list()
    ann, number = hashes[0], hashes[2]
    assert hashes == [ann, ann, number, number, ann, ann, "", ""]
    assert re.fullmatch("[0-9a-f]{32}", ann)
    assert ann != number
    assert ann != Scrub("another key")(make_batch([{"span:user.id": "ann"}]))["user_id_hash"][0]
    assert [c for c in batch.columns if ":" in c] == ["span:gen_ai.request.model"]
    assert [[a["key"] for a in attrs] for attrs in batch["attrs"].to_list()] == [
        [],
        ["n"],
        [],
        [],
        [],
        [],
        [],
        [],
    ]
    assert batch["resource"].list.len().sum() == 0
    assert batch["events"][4][0]["attrs"] == []


def test_the_hash_is_one_that_a_collector_can_make() -> None:
    inner = hashlib.sha256(b"a key for tests:ann").hexdigest()
    expected = hashlib.sha256(f"a key for tests:{inner}".encode()).hexdigest()[:32]
    assert scrub(make_batch([{"span:user.id": "ann"}]))["user_id_hash"][0] == expected
    assert keyed_hash("a key for tests", "ann") == expected


def test_a_number_has_one_hash_whatever_its_type() -> None:
    batch = scrub(
        make_batch(
            [
                {"attrs": {"user.id": "42"}},
                {"attrs": {"user.id": 42}},
                {"attrs": [{"key": "user.id", "value": "42.0", "type": int(ValueType.DOUBLE)}]},
                {"span:user.id~": "42.0"},
            ]
        )
    )
    assert set(batch["user_id_hash"]) == {keyed_hash("a key for tests", "42")}


HASH = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("raw", [True, False])
def test_a_hash_from_the_collector_stays(raw: bool) -> None:
    span = {f"span:{USER_ID_HASH}": HASH} if raw else {"attrs": {USER_ID_HASH: HASH}}
    before = Normalize()(make_batch([span]))
    batch = scrub(before)
    assert batch.equals(before)
    assert batch["user_id_hash"][0] == (HASH if raw else "")


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("user", ["ann", HASH.upper(), HASH + "0", 42])
def test_what_is_no_hash_is_hashed(raw: bool, user: str | int) -> None:
    column = f"span:{USER_ID_HASH}" + ("~" if isinstance(user, int) else "")
    span = {column: str(user)} if raw else {"attrs": {USER_ID_HASH: user, "n": 1}}
    batch = scrub(Normalize()(make_batch([span])))
    assert batch["user_id_hash"][0] == keyed_hash("a key for tests", str(user))
    assert str(user) not in str(batch.to_dicts())


def test_a_users_id_goes_before_a_hash() -> None:
    batch = make_batch([{f"span:{USER_ID_HASH}": HASH, "resource": {"user.id": "ann"}}])
    assert scrub(Normalize()(batch))["user_id_hash"][0] == keyed_hash("a key for tests", "ann")


def test_only_spans_carry_a_hash() -> None:
    spans = [{"resource": {USER_ID_HASH: "ann"}, "events": [{"attrs": {USER_ID_HASH: "bob"}}]}]
    batch = scrub(make_batch(spans))
    assert batch["resource"].to_list() == [[]]
    assert batch["events"].to_list()[0][0]["attrs"] == []
    assert batch["user_id_hash"].to_list() == [""]


def test_addresses_in_trace_state() -> None:
    state = "a=joe@x.com,b=+14155550123,c=ann%40x.com"
    batch = scrub(make_batch([{"trace_state": state, "links": [{"trace_state": state}]}]))
    expected = "a=[email],b=+14155550123,c=[email]"
    assert batch["trace_state"][0] == expected
    assert batch["links"][0][0]["trace_state"] == expected


NAMED = {
    '{"user_id": "ann", "n": 1}': '{"user_id": "[user]", "n": 1}',
    "{'enduser.id': 'ann', 'n': 1}": "{'enduser.id': '[user]', 'n': 1}",
    'text, then "userId": 42}': 'text, then "userId": "[user]"}',
    '{"a": "{\\"user.id\\": \\"ann\\"}"}': '{"a": "{\\"user.id\\": \\"[user]\\"}"}',
    '{"email": "joe at x.com"}': '{"email": "[email]"}',
    '{"user": "ann", "username": "ann"}': '{"user": "ann", "username": "ann"}',
    '{"email": {"type": "string"}, "user_id": null}': '{"email": {"type": "string"}, "user_id": null}',
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), NAMED.items())
def test_masks_by_name_in_json(text: str, expected: str) -> None:
    assert masked(text) == expected
    assert masked(expected) == expected


@pytest.mark.parametrize("name", [*USER_ID_KEYS, *EMAIL_KEYS])
def test_masks_every_name_in_json(name: str) -> None:
    mark = "[user]" if name in USER_ID_KEYS else "[email]"
    for value in ("ann", 42):
        assert masked(json.dumps({name: value, "n": 1})) == json.dumps({name: mark, "n": 1})
        batch = scrub(make_batch([{"attrs": json_attribute({name: value, "n": 1})}]))
        assert json.loads(batch["attrs"][0][0]["value"]) == {name: mark, "n": 1}


@pytest.mark.parametrize("key", ["user.id", "enduser.id", "user.hash", "enduser.pseudo.id"])
@pytest.mark.parametrize("user", ["ann", "5f4dcc3b5aa765d61d8327deb882cf99"])
def test_an_id_that_normalize_took_is_hashed(key: str, user: str) -> None:
    normalize = Normalize()
    raw = {f"span:{key}": user} if f"span:{key}" in normalize.wanted else {"attrs": {key: user}}
    batch = scrub(normalize(make_batch([raw])))
    assert user not in str(batch.to_dicts())
    assert re.fullmatch("[0-9a-f]{32}", batch["user_id_hash"][0])


def test_own_keys() -> None:
    own = Scrub("k", user_id_keys=["app.uid"], drop_keys=["app.address"])
    batch = own(make_batch([{"attrs": {"app.uid": "ann", "app.address": "Main St", "app.x": "y"}}]))
    assert [a["key"] for a in batch["attrs"][0]] == ["app.x"]
    assert batch["user_id_hash"][0] == Scrub("k")(make_batch([{"span:user.id": "ann"}]))["user_id_hash"][0]


def test_values_of_secret_keys() -> None:
    attributes = [
        {"key": "db.password", "value": "x y", "type": 1},
        {"key": "http.request.header.x-api-key", "value": '["abc"]', "type": 5},
        {"key": "http.request.header.authorization", "value": '["ApiKey abc"]', "type": 5},
        {"key": "http.response.header.set_cookie", "value": '["sid=abc"]', "type": 5},
        {"key": "gen_ai.usage.output_tokens", "value": "7", "type": 3},
    ]
    attrs = scrub(make_batch([{"attrs": attributes}]))["attrs"][0].to_list()
    assert [(a["value"], a["type"]) for a in attrs] == [*[("[key]", 1)] * 4, ("7", 3)]


JSON_NUMBERS = {
    "[1705314600000, 1705314660000]": "[1705314600000, 1705314660000]",
    '{"a": 4111111111111111, "b": [5500000000000004]}': '{"a": "[card]", "b": ["[card]"]}',
    "[-4111111111111111, 4111111111111111.5, 4111111111111111e2, -Infinity]": (
        "[-4111111111111111, 4111111111111111.5, 4111111111111111e2, -Infinity]"
    ),
    '{"password": 4111111111111111}': '{"password": "[key]"}',
    '{"user_id": 42, "a": [{"email" : -1.5e3}], "userId":7}': (
        '{"user_id": "[user]", "a": [{"email" : "[email]"}], "userId":"[user]"}'
    ),
}


@pytest.mark.parametrize(("text", "expected"), JSON_NUMBERS.items())
def test_numbers_in_json_text(text: str, expected: str) -> None:
    assert masked(text) == expected
    assert masked(expected) == expected


def test_json_stays_json() -> None:
    value = {
        "a@x.com": 'say "hi"\n\tann@x.com\u0001 \\ 555-123-4567\n(030) 1234 5678',
        "n": [1, 2.5, None, True, 4111111111111111, "4111111111111111"],
        "password": 'p"w\\',
        "deep": {"x": [{"api_key": "abc", "bearer": "Bearer abc1234"}]},
        "own": 'password="x y"',
    }
    batch = scrub(
        make_batch([{"attrs": json_attribute(value)}, {"attrs": json_attribute(["é", {"t": "😀"}])}])
    )
    assert json.loads(batch["attrs"][0][0]["value"]) == {
        "[email]": 'say "hi"\n\t[email]\u0001 \\ [phone]\n[phone]',
        "n": [1, 2.5, None, True, 4111111111111111, "[card]"],
        "password": "[key]",
        "deep": {"x": [{"api_key": "[key]", "bearer": "Bearer [token]"}]},
        "own": 'password="[key]"',
    }
    assert json.loads(batch["attrs"][1][0]["value"]) == ["é", {"t": "😀"}]


def test_numbers_ids_and_rejected_spans_stay() -> None:
    batch = make_batch(
        [
            {
                "attrs": {"n": 4111111111111111, "d": 0.5},
                "trace_state": "a=+14155550123",
                "reject": "no trace_id",
            },
            {
                "attrs": [
                    {"key": "b", "value": "c2stYW50LWFwaTAzLUFiQ2RFZjEyMw==", "type": int(ValueType.BYTES)}
                ]
            },
        ]
    )
    assert scrub(batch).drop("user_id_hash").equals(batch)


def test_empty_batch() -> None:
    assert scrub(make_batch([{}]).clear()).height == 0


def test_needs_a_key() -> None:
    with pytest.raises(UserError, match="hash_key"):
        Scrub()


def test_counts_by_rule() -> None:
    def count(rule: str) -> float:
        return REGISTRY.get_sample_value("spanhouse_scrubbed_values_total", {"rule": rule}) or 0

    rules = ("email", "phone", "card", "key", "token", "user_id", "dropped")
    before = {rule: count(rule) for rule in rules}
    attrs = {
        "a": "joe@x.com", "b": "+14155550123", "c": "4111111111111111", "d": "AKIAIOSFODNN7EXAMPLE",
        "e": "Bearer abc123456", "user.id": "u", "user.email": "x",
    }  # fmt: skip
    scrub(make_batch([{"attrs": attrs}]))
    assert {rule: count(rule) - before[rule] for rule in rules} == {**dict.fromkeys(rules, 1), "dropped": 2}


def luhn(digits: str) -> str:
    total = sum(sum(divmod(int(d) * (2 - i % 2), 10)) for i, d in enumerate(reversed(digits)))
    return digits + str(-total % 10)


word = st.text(string.ascii_letters, min_size=1, max_size=8)
email = st.builds("{}.{}@{}.{}".format, word, word, word, st.sampled_from(["com", "de", "co.uk"]))
card = st.builds(
    lambda prefix, rest, sep: sep.join(re.findall(".{4}", luhn(prefix + rest))),
    st.sampled_from(["4", "51", "55", "6011", "2221"]).map(lambda p: p.ljust(4, "7")),
    st.text("0123456789", min_size=11, max_size=11),
    st.sampled_from(["", " ", "-"]),
)
phone = st.builds("+{}{}".format, st.integers(1, 99), st.integers(10**8, 10**10 - 1))
key = st.one_of(
    st.builds("sk-ant-api03-{}".format, st.text(string.ascii_letters + "-_", min_size=20, max_size=30)),
    st.builds("ghp_{}".format, st.text(string.ascii_letters, min_size=36, max_size=36)),
    st.builds("AKIA{}".format, st.text(string.ascii_uppercase, min_size=16, max_size=16)),
)
secret = st.one_of(email, card, phone, key)
around = st.text(st.characters(codec="utf-8"), max_size=20)
GAPS = [" ", "\n", ", ", "; ", '"', "<", ">", "\t", "（", "“"]


@st.composite
def sentences(draw: st.DrawFn) -> tuple[str, str]:
    """(text, the secret in it)."""
    hidden = draw(secret)
    before, after = draw(st.sampled_from(GAPS)), draw(st.sampled_from(GAPS))
    return draw(around) + before + hidden + after + draw(around), hidden


def everywhere(text: str) -> pl.DataFrame:
    nested = json_attribute({text: [text, {"x": text}, "quoted " + json.dumps(text, ensure_ascii=False)]})
    attrs = [{"key": "s", "value": text, "type": 1}, *nested]
    return make_batch(
        [
            {"attrs": {"plain": "nothing"}},
            {
                "name": text, "status_message": text, "attrs": attrs, "resource": attrs, "scope_attrs": attrs,
                "scope": text, "span:session.id": text, "span:gen_ai.request.model~": text,
                "events": [{"name": text, "attrs": attrs}, {"attrs": []}], "links": [{"attrs": attrs}],
            },
        ]
    ).with_columns(model=pl.col("name"), error_message=pl.col("status_message"))  # fmt: skip


@given(sentences())
@settings(max_examples=150, deadline=None)
def test_nothing_leaks(sentence: tuple[str, str]) -> None:
    text, hidden = sentence
    result = scrub(everywhere(text))
    assert hidden not in "\0".join(strings(result.to_dicts()))
    for row in result.to_dicts():
        for attribute in row["attrs"] + row["resource"]:
            if attribute["type"] == ValueType.KVLIST:
                json.loads(attribute["value"])


def strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return strings([*value.keys(), *value.values()])
    return [s for item in value for s in strings(item)] if isinstance(value, list) else [str(value)]


fragments = st.lists(
    st.one_of(
        secret, around, st.sampled_from([*FOUND, *GAPS, "-", "(", ")", "=", ":", "password", "[key]", "\\"])
    ),
    max_size=6,
).map("".join)


@given(fragments)
@settings(max_examples=120, deadline=None)
def test_twice_is_once(text: str) -> None:
    once = scrub(everywhere(text))
    assert scrub(once).equals(once)


@given(st.text(st.sampled_from("0123456789+-. ()/\n,a:"), max_size=40))
@settings(max_examples=250, deadline=None)
def test_twice_is_once_for_numbers(text: str) -> None:
    once = masked(text)
    assert masked(once) == once


def hint(pattern: Pattern) -> str:
    """What a match of the pattern has in lower case."""
    return "|".join(pattern.hints or map(re.escape, pattern.literals.split()))


@given(fragments)
@settings(max_examples=120, deadline=None)
def test_whatever_a_rule_matches_is_looked_at(text: str) -> None:
    """The literals and hints that make rules fast are in every match; literals also where it is quoted."""
    inside = json.dumps(text, ensure_ascii=False)
    for rule in RULES:
        gate = "(?i)" + "|".join(map(re.escape, rule.literals.split())) if rule.literals else DIGITS
        for pattern in rule.patterns:
            frame = pl.DataFrame({"text": [text]}).select(
                match=pl.col("text").str.contains(pattern.regex.replace(r"\b", r"(?-u:\b)")),
                plain=pl.col("text").str.contains(gate),
                json=pl.lit(inside).str.contains(gate),
                hint=pl.col("text").str.to_lowercase().str.contains(hint(pattern)),
            )
            match, plain, quoted, hinted = frame.row(0)
            assert not match or (plain and quoted and hinted), pattern


def test_documents_list_every_rule() -> None:
    text = (DOCS / "security.md").read_text()
    for rule in RULES:
        assert f"| `[{rule.name}]` | {rule.about} |" in text, rule.name
    for name in (*USER_ID_KEYS, *EMAIL_KEYS):
        assert f"`{name}`" in text, name
