import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from spanhouse.otlp.decode import Decoder
from tests.otlp.reference import assert_decoded
from tests.otlp.strategies import requests

KEYS = ["a", "b", "gen_ai.request.model", "service.name", "", "true", "é" * 7]
TYPES = [pl.String, pl.Int64, pl.Float64, pl.Boolean]
wanted_keys = st.dictionaries(
    st.builds("{}:{}".format, st.sampled_from(["span", "scope", "resource"]), st.sampled_from(KEYS)),
    st.sampled_from(TYPES),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(requests, max_size=3), wanted_keys)
def test_equals_protobufs_own_parser(messages, wanted):
    decoded = Decoder(wanted).decode([message.SerializeToString() for message in messages])
    assert decoded.errors == {}
    assert_decoded(decoded, list(enumerate(messages)), wanted)
