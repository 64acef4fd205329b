"""Records what instrumentation libraries send: `python -m tests.dialects.record [library ...]`.

For each library it makes an environment of its own in .cache/dialects, runs the library's program against the
stand-in, and writes what came in by OTLP to tests/data/dialects, with an index of what the stand-in answered.
A library is a folder in tests/dialects/libraries: a program and its pinned packages, `main.py` with
`requirements.txt` or `main.mjs` with `package.json` and `package-lock.json`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf.message import Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.dialects import golden
from tests.dialects.standin.server import URL, Standin
from tests.dialects.standin.state import State
from tests.dialects.truth import SCENARIOS, SESSION, USER

LIBRARIES = Path(__file__).parent / "libraries"
SHARED = Path(__file__).parent / "shared"  # modules for the Python programs
ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "dialects"
# What says where a program ran, and nothing of the library's dialect.
_PLACES = ("host.", "process.", "os.", "service.instance.id")


def main(names: list[str]) -> int:
    known = sorted(path.parent.name for path in LIBRARIES.glob("*/main.*"))
    if unknown := set(names) - set(known):
        print(f"no such library: {', '.join(sorted(unknown))}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    wrong = {name: problems for name in names or known if (problems := record(name))}
    for name, problems in wrong.items():
        print(f"{name}: {'; '.join(problems)}", file=sys.stderr)
    return 1 if wrong else 0


def record(name: str) -> list[str]:
    """Record one library, and return what went wrong."""
    print(f"{name}: ", end="", flush=True)
    javascript = (LIBRARIES / name / "main.mjs").exists()
    folder = _node(name) if javascript else _python(name)
    node = folder / "node_modules" / ".bin" / "node"  # where a library wants a newer one than is common
    command = [node if node.exists() else "node", folder / "main.mjs"]
    if not javascript:
        command = [folder / "bin" / "python", LIBRARIES / name / "main.py"]
    log = CACHE / f"{name}.log"
    with tempfile.TemporaryDirectory() as home, Standin() as standin, log.open("wb") as output:
        ran = subprocess.run(
            command,
            env=_environment(Path(home)),
            cwd=home,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=300,
        )
        replacements = {
            str(folder.resolve()): "/app/env",
            str(folder): "/app/env",
            home: "/app/home",
            str(ROOT): "/app",
            sys.base_prefix: "/usr",
            str(Path.home()): "/app/home",
        }
    problems = [f"its program failed, see {log}"] if ran.returncode else []
    scenarios: dict[str, Any] = {}
    requests = []
    for state in standin.ended:
        request = ExportTraceServiceRequest.FromString(b"".join(state.traces))
        _scrub(request, replacements)
        problems += _check(state)
        scenarios[state.name] = _entry(state, request)
        if scenarios[state.name]["spans"]:
            requests.append(request)
    index = {
        "library": name,
        "language": "javascript" if javascript else "python",
        "recorded": datetime.now(UTC).date().isoformat(),
        "packages": _packages(name),
        "scenarios": scenarios,
    }
    golden.write(name, index, requests)
    print(f"{len(scenarios)} scenarios, {sum(entry['spans'] for entry in scenarios.values())} spans")
    if silent := [scenario for scenario, entry in scenarios.items() if not entry["spans"]]:
        print(f"  no span of {', '.join(silent)}")
    return problems


def _environment(home: Path) -> dict[str, str]:
    """What a library's program sees: the stand-in in every provider's place, and keys that open nothing."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(SHARED),
        "STANDIN": URL,
        "DIALECTS_SESSION": SESSION,
        "DIALECTS_USER": USER,
        "OTEL_EXPORTER_OTLP_ENDPOINT": URL,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_SERVICE_NAME": "weather-app",
        "OTEL_RESOURCE_ATTRIBUTES": "service.version=1.2.3,deployment.environment.name=test",
        "OPENAI_API_KEY": "not-a-key",
        "OPENAI_BASE_URL": f"{URL}/openai/v1",
        "ANTHROPIC_API_KEY": "not-a-key",
        "ANTHROPIC_BASE_URL": f"{URL}/anthropic",
        "GEMINI_API_KEY": "not-a-key",
        "MISTRAL_API_KEY": "not-a-key",
        "COHERE_API_KEY": "not-a-key",
        "CO_API_KEY": "not-a-key",
        "CO_API_URL": f"{URL}/cohere",
        "OLLAMA_HOST": URL,
        "AWS_ACCESS_KEY_ID": "not-a-key",
        "AWS_SECRET_ACCESS_KEY": "not-a-key",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": URL,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1,localhost",
        # Anthropic's SDK makes spans of its own beside a library's; `provider_sdks` records those.
        "ANTHROPIC_OPEN_TELEMETRY": "false",
    }


def _python(name: str) -> Path:
    """The virtual environment with a library's pinned packages."""
    wanted = LIBRARIES / name / "requirements.txt"
    folder = CACHE / name
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != wanted.read_text():
        uv = _uv()
        _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder])
        _run([uv, "pip", "install", "--quiet", "--python", folder / "bin" / "python", "-r", wanted])
        stamp.write_text(wanted.read_text())
    return folder


def _uv() -> Path:
    """The program uv: dozens of environments that share most packages take it seconds."""
    folder = CACHE / "uv"
    uv = folder / "bin" / "uv"
    if not uv.exists():
        _run([sys.executable, "-m", "venv", folder])
        _run([folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "uv"])
    return uv


def _node(name: str) -> Path:
    """A folder with a library's program and its packages."""
    folder = CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "installed"
    lock = LIBRARIES / name / "package-lock.json"
    for path in (LIBRARIES / name).iterdir():
        shutil.copy(path, folder)
    if not stamp.exists() or stamp.read_text() != lock.read_text():
        _run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=folder)
        stamp.write_text(lock.read_text())
    return folder


def _run(command: list[str | Path], cwd: Path | None = None) -> None:
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd)
    if ran.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}:\n{ran.stdout}")


def _packages(name: str) -> dict[str, str]:
    folder = LIBRARIES / name
    if (folder / "package.json").exists():
        return dict(json.loads((folder / "package.json").read_text())["dependencies"])
    wanted = (folder / "requirements.txt").read_text()
    return dict(re.findall(r"^([\w.-]+)(?:\[.*?\])?==(\S+)", wanted, re.MULTILINE))


def _scrub(request: ExportTraceServiceRequest, replacements: dict[str, str]) -> None:
    """Take out of a request what says on which machine it was made."""
    for resource in request.resource_spans:
        attributes = resource.resource.attributes
        kept = [attribute for attribute in attributes if not attribute.key.startswith(_PLACES)]
        del attributes[:]
        attributes.extend(kept)
    _replace(request, replacements)


def _replace(message: Message, replacements: dict[str, str]) -> None:
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for item in value if field.is_repeated else [value]:
                _replace(item, replacements)
        elif field.type == field.TYPE_STRING and not field.is_repeated:
            for old, new in replacements.items():
                value = value.replace(old, new)
            setattr(message, field.name, value)


def _check(state: State) -> list[str]:
    """What is not as tests/dialects/truth.py says. That no span comes of a call may be the library's way."""
    problems = [f"{state.name}: {problem}" for problem in state.problems]
    if state.name not in SCENARIOS:
        return [*problems, f"{state.name} is no scenario"]
    answered = sum(not call.error for call in state.calls)
    if answered != state.scenario.calls:
        problems.append(f"{state.name}: {answered} calls were answered, not {state.scenario.calls}")
    if any(call.model != state.scenario.model for call in state.calls):
        problems.append(f"{state.name}: another model than {state.scenario.model} was asked")
    return problems


def _entry(state: State, request: ExportTraceServiceRequest) -> dict[str, Any]:
    scopes = [scope for resource in request.resource_spans for scope in resource.scope_spans]
    entry: dict[str, Any] = {
        "spans": sum(len(scope.spans) for scope in scopes),
        "calls": [call.record() for call in state.calls],
    }
    if state.events:
        entry["log_events"] = sorted(state.events)
    return entry


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
