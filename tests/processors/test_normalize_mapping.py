from __future__ import annotations

import re
from pathlib import Path

import pytest

from spanhouse.errors import UserError
from spanhouse.processors.normalize import Normalize

BAD = {
    "columns:\n  kind:\n    - {span: a, is: lllm}\n": "line 3: kind: kinds are llm, agent",
    "columns:\n  kind:\n    - span: a\n      values: {x: nope}\n": "line 4: kind: kinds are",
    "columns:\n  kinds:\n    - span: a\n": "line 2: kinds: no such column; there are kind, ",
    "columns:\n  latency_ms:\n    - span: a\n": "line 2: latency_ms: no such column",
    "columns:\n  agent:\n    - spam: a\n": "line 3: agent: unknown key 'spam'; a rule's keys are span",
    "columns:\n  agent:\n    - span: a\n      resource: b\n": "line 4: agent: a rule has one source",
    "columns:\n  agent:\n    - {is: a}\n": "line 3: agent: a rule needs a source",
    "columns:\n  agent:\n    - {event: a}\n": "line 3: agent: 'event' and 'attribute' belong together",
    "columns:\n  agent:\n    - {span: a, status: failed}\n": "line 3: agent: 'status' must be one of unset",
    "columns:\n  ttft_ms:\n    - {span: a, unit: min}\n": "line 3: ttft_ms: 'unit' must be one of s, ms",
    "columns:\n  agent:\n    - {span: a, unit: s}\n": "line 3: agent: 'unit' is only for columns in m",
    "columns:\n  agent:\n    - {span: a, match: 'a+'}\n": "line 3: agent: 'match' must be a regular expr",
    "columns:\n  agent:\n    - {span: a, match: '(a'}\n": "line 3: agent: 'match' must be a regular expr",
    "columns:\n  agent:\n    - {span: a, match: '(a)(?=b)'}\n": "line 3: agent: 'match' must be a regular",
    "columns:\n  agent:\n    - {span: a, json: usage}\n": "line 3: agent: 'usage' is no JSON path",
    "columns:\n  agent:\n    - {span: a, json: $.a[}\n": "line 3: not valid YAML",
    "columns:\n  agent:\n    - {span: a, json: '$.a['}\n": "line 3: agent: '$.a[' is no JSON path",
    "columns:\n  agent:\n    - {span: a, json: $.b, match: (b)}\n": "line 3: agent: a rule has either 'json'",
    "columns:\n  agent:\n    - {span: a, excludes: [reasoning]}\n": "line 3: agent: 'excludes' is for totals",
    "columns:\n  tokens_prompt:\n    - {span: a, repeats: [reasoning]}\n": "'repeats' may name cache_read",
    "columns:\n  agent:\n    - {span: a, where: {provider: b}}\n": "only rules for tokens_prompt and tokens_",
    "columns:\n  agent:\n    - {span: a, where: [b]}\n": "line 3: agent.where: must be a mapping",
    "columns:\n  tokens_prompt:\n    - {span: a, is: b}\n": "line 3: tokens_prompt: is a number",
    "columns:\n  agent:\n    - {span: a, starts_with: [b]}\n": "line 3: agent: 'starts_with' needs 'is'",
    "columns:\n  agent:\n    - {column: tokens_prompt}\n": "line 3: agent: 'column' cannot be 'token",
    "columns:\n  agent:\n    - {column: agent}\n": "line 3: agent: 'column' cannot be 'agent'",
    "columns:\n  agent:\n    - span: [a]\n": "line 3: agent.span: must be a text",
    "columns:\n  agent:\n    - {span: a, values: {}}\n": "line 3: agent.values: must not be empty",
    "columns:\n  agent:\n    span: a\n": "line 3: agent: must be a list of rules",
    "columns:\n  agent:\n    - a\n": "line 3: agent: must be a mapping",
    "columns:\n  agent:\n    - {span: a, guess: yes}\n": "line 3: agent: 'guess' is 'true' or left out",
    "columns:\n  tokens_prompt:\n    - {span: a, guess: true}\n": "'guess' is 'true' or left out, and for",
    "content:\n  prompts:\n    - span: [a]\n": "line 2: prompts: no such content; there are kept, input",
    "content:\n  input:\n    - {span: [a], key: b}\n": "line 3: content.input: unknown key 'key'; a rule's",
    "content:\n  input:\n    - {span: [a], event: b}\n": "line 3: content.input: a rule has either",
    "content:\n  input:\n    - {span: [a], where: {kind: b}}\n": "'kind' cannot be asked for, only 'scope'",
    "evaluations:\n  - {name: a, mark: b}\n": "unknown key 'mark'; a rule's keys are",
    "evaluations:\n  - {name: a}\n": "line 2: evaluations: a rule needs 'name', and 'score', 'label' or",
    "evaluations:\n  - {name: a.*.b.*, score: c}\n": "has more than one *",
    "evaluations:\n  - {name: a, score: b, where: {kind: c}}\n": "'kind' cannot be asked for, only 'scope'",
    "columns:\n  agent:\n    - span: a\n  agent:\n    - span: b\n": "line 4: columns: 'agent' is there twice",
    "column:\n  agent:\n    - span: a\n": "line 1: column: unknown key",
    "- a\n": "line 1: the file: must be a mapping",
    "": "the mapping is empty",
    "columns:\n  agent: [\n": "line 3: not valid YAML",
    "columns:\n  agent: '\x07'\n": "not valid YAML",
    "columns:\n  agent:\n    - span: gen_ai.usage.cost\n": "line 3: agent: 'span:gen_ai.usage.cost' is used",
}


@pytest.mark.parametrize(("text", "message"), BAD.items())
def test_a_bad_mapping_names_file_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=re.escape(message)) as error:
        Normalize(mappings=[path])
    assert str(path) in str(error.value)


def test_a_mapping_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: cannot read the mapping: No such file"):
        Normalize(mappings=[tmp_path / "none.yaml"])
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"columns: \xff\n")
    with pytest.raises(UserError, match=r"latin\.yaml: the mapping is not UTF-8"):
        Normalize(mappings=[path])
