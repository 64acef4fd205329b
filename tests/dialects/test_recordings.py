"""The recordings are whole, say what the stand-in says, and nothing of the machine they were made on."""

import re

import pytest

from tests.dialects import golden
from tests.dialects.truth import MODELS, SCENARIOS, cost, usage

PRIVATE = re.compile(rb"(?<!/app)/(?:home|root|tmp|work|Users)/")


@pytest.mark.parametrize("library", golden.libraries())
def test_recordings(library):
    scenarios = golden.index(library)["scenarios"]
    requests = golden.requests(library)
    for name, entry in scenarios.items():
        answered = [call for call in entry["calls"] if "error" not in call]
        assert len(answered) == SCENARIOS[name].calls
        for number, call in enumerate(answered):
            used = usage(call["model"], number)
            assert call["usage"] == {part: count for part, count in vars(used).items() if count}
            assert call["cost_usd"] == (None if (usd := cost(call["model"], used)) is None else f"{usd:f}")
            assert call["provider"] == MODELS[call["model"]].provider
        if entry["spans"]:
            scopes = [scope for resource in requests[name].resource_spans for scope in resource.scope_spans]
            assert sum(len(scope.spans) for scope in scopes) == entry["spans"]
    for name, payload in golden.payloads(library).items():
        assert not PRIVATE.search(payload), name
