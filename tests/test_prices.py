"""`spanhouse prices`: a list, one explained, models seen without a price; and the documented price file."""

from __future__ import annotations

import datetime as dt
import re
import subprocess
import sys
from pathlib import Path

import pytest

from spanhouse.config import Config, check
from spanhouse.prices import show
from spanhouse.processors.price_file import load
from tests.harness import Instance, request

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "prices.yaml"
    path.write_text(
        "prices:\n"
        "  - {model: house-*, input: 0.10, output: 0.4, tiers: [{above: 1000, input: 0.2}]}\n"
        "  - {model: house-new, from: 2030-01-01, input: 7}\n"
        "  - {model: later, from: 2030-01-01, provider: vllm, input: 7, per_request: 0.5}\n"
    )
    return Config(processors={"price": {"file": path}})


def said(
    config: Config, model: str = "", provider: str = "", at: dt.date | None = None
) -> tuple[int, list[str]]:
    lines: list[str] = []
    code = show(config, lambda text: lines.extend(text.splitlines()), model=model, provider=provider, at=at)
    return code, lines


def test_one_model_is_explained(config: Config) -> None:
    code, lines = said(config, "house-new")
    assert code == 0
    assert "prices.yaml:2, any house-*" in lines[0]
    assert lines[2].split() == ["price", "0.1", "0.1", "0.1", "0.4", "0.4", "0"]
    assert lines[3].split() == ["above", "1,000", "input", "tokens", "0.2", "0.2", "0.2", "0.4", "0.4", "0"]
    code, lines = said(config, "house-new", at=dt.date(2030, 1, 1))
    assert "prices.yaml:3, any house-new, from 2030-01-01 on" in lines[0]
    code, lines = said(config, "GPT-4o", "azure.ai.openai")
    assert code == 0
    assert "provider azure, model gpt-4o" in lines[0]
    code, lines = said(config, "gpt-4o", "openai")
    assert [line.split()[:3] for line in lines if "tier" in line][-1] == ["service", "tier", "batch"]


def test_an_unknown_one_says_what_to_do(config: Config, tmp_path: Path) -> None:
    code, lines = said(config, "later", "vllm")
    assert code == 1
    assert any(line.endswith("prices.yaml:4 has one from 2030-01-01 on") for line in lines)
    code, lines = said(config, 'odd" name')
    assert code == 1
    (tmp_path / "copied.yaml").write_text("\n".join(lines[lines.index("prices:") :]))
    assert load(tmp_path / "copied.yaml")[0].model == 'odd" name'


def test_all_are_listed(config: Config) -> None:
    _, lines = said(config)
    assert len(lines) > 2000
    assert lines[2].startswith("any house-* (own, line 2)")
    _, lines = said(config, provider="openai")
    assert all(line.startswith(("openai ", "  above ")) for line in lines[2:])


def test_models_without_a_price_are_shown_by_the_running_instance(tmp_path: Path) -> None:
    usage = {"gen_ai__usage__input_tokens": 1000, "gen_ai__usage__output_tokens": 100}
    with Instance(tmp_path / "data") as instance:
        for model, count in (("house", 2), ("gpt-4o", 1)):
            message = request(count, gen_ai__request__model=model, gen_ai__provider__name="openai", **usage)
            assert instance.post(message.SerializeToString())[0] == 200
        command = [
            sys.executable,
            "-m",
            "spanhouse",
            "prices",
            "--unpriced",
            "--data",
            str(tmp_path / "data"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path)
    assert [line.split()[:4] for line in done.stdout.splitlines()[1:2]] == [["openai", "house", "2", "2,200"]]


def test_the_documented_file_is_right(tmp_path: Path) -> None:
    text = (DOCS / "prices.md").read_text()
    config, prices = re.findall(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "spanhouse.yaml").write_text(config)
    (tmp_path / "prices.yaml").write_text(prices)
    assert check(tmp_path / "spanhouse.yaml") == []
    assert len(load(tmp_path / "prices.yaml")) == 4
    (tmp_path / "prices.yaml").write_text(prices.replace("per_request", "per_call"))
    (problem,) = check(tmp_path / "spanhouse.yaml")
    assert re.search(
        r"spanhouse\.yaml:2: processors\.price: .*prices\.yaml:\d+: prices\[1\]\.per_call: unknown key",
        problem,
    )
