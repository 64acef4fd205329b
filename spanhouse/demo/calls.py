"""What agents call: models, tools, retrieval, guardrails, evaluations; each with its usual telemetry.

Attribute names are those of the OpenTelemetry GenAI and MCP conventions
(github.com/open-telemetry/semantic-conventions-genai) and of the general ones (HTTP, database, errors);
what they have no name for yet (tenants, experiments, rerank, guardrail and evaluation spans) is named as
applications do it.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from spanhouse.demo.trace import Failure, PlannedSpan, Trace, Usage, Value
from spanhouse.demo.world import EMBEDDING, FAILS_AGAIN, MODEL_FAILURES, QUESTIONS, RERANKER, Model

ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class Prompt:
    """A named prompt template in one of its versions."""

    name: str
    version: str


def agent(trace: Trace, name: str, *, service: str = "") -> AbstractContextManager[PlannedSpan]:
    """A span around an agent's work."""
    return trace.span(
        f"invoke_agent {name}",
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name},
        service=service,
    )


def chat(
    trace: Trace,
    agent_name: str,
    model: Model,
    usage: Usage,
    *,
    prompt: Prompt | None = None,
    stream: bool = False,
    question: str = "",
) -> Usage:
    """A model call, repeated after a failure that may pass; returns the tokens it took.

    Raises:
        Failure: the model failed `ATTEMPTS` times.
    """
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": model.operation,
        "gen_ai.provider.name": model.provider,
        "gen_ai.request.model": model.name,
        "gen_ai.agent.name": agent_name,
        "gen_ai.request.max_tokens": 4096,
        "server.address": model.address,
        "server.port": model.port,
    }
    if prompt:
        attributes |= {"gen_ai.prompt.name": prompt.name, "gen_ai.prompt.version": prompt.version}
    if stream:
        attributes["gen_ai.request.stream"] = True
    if model.reasons:
        attributes["gen_ai.request.reasoning.level"] = "medium"
    else:
        attributes["gen_ai.request.temperature"] = 0.2
    if question:
        message = {"role": "user", "parts": [{"type": "text", "content": question}]}
        attributes["gen_ai.input.messages"] = json.dumps([message])
    for attempt in range(ATTEMPTS):
        try:
            with trace.span(f"{model.operation} {model.name}", attributes, "CLIENT") as span:
                span.model = model.name  # until it answers
                _may_fail(trace, model, FAILS_AGAIN if attempt else model.failure_rate)
                _generate(trace, span, model, usage, stream=stream)
            return usage
        except Failure:
            if attempt == ATTEMPTS - 1:
                raise
            trace.wait(500 * 2**attempt)
    raise AssertionError("unreachable")


def _generate(trace: Trace, span: PlannedSpan, model: Model, usage: Usage, *, stream: bool) -> None:
    started = trace.now
    trace.wait(model.first_token_ms + usage.prompt / 40)
    if stream:
        span.attributes["gen_ai.response.time_to_first_chunk"] = (trace.now - started) / 1e9
    trace.wait(usage.completion / model.tokens_per_s * 1000, spread=0.1)
    span.model = model.answers_as
    span.usage = usage
    span.attributes |= usage.attributes()
    span.attributes |= {
        "gen_ai.response.model": model.answers_as,
        "gen_ai.response.id": f"resp_{trace.chance.getrandbits(48):012x}",
        "gen_ai.response.finish_reasons": ["stop"],
    }


def _may_fail(trace: Trace, model: Model, rate: float) -> None:
    if trace.chance.random() < rate:
        error_type, message = MODEL_FAILURES[model.provider]
        trace.wait(8000 if error_type == "timeout" else 90, spread=0.01)
        raise Failure(error_type, message)


def retrieve(trace: Trace, agent_name: str, source: str, documents: int) -> None:
    """Search in a knowledge base: embed the question, ask the vector database, rerank what it found."""
    with trace.span(
        f"retrieval {source}",
        {
            "gen_ai.operation.name": "retrieval",
            "gen_ai.data_source.id": source,
            "gen_ai.agent.name": agent_name,
        },
        "SERVER",
        service="retrieval",
    ):
        _embed(trace, agent_name, trace.chance.randint(12, 60))
        with trace.span(
            f"search {source}",
            {"db.system.name": "qdrant", "db.operation.name": "search", "db.collection.name": source},
            "CLIENT",
        ):
            trace.wait(12)
        _rerank(trace, agent_name, documents)


def _embed(trace: Trace, agent_name: str, tokens: int) -> None:
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": EMBEDDING.operation,
        "gen_ai.provider.name": EMBEDDING.provider,
        "gen_ai.request.model": EMBEDDING.name,
        "gen_ai.response.model": EMBEDDING.answers_as,
        "gen_ai.agent.name": agent_name,
        "gen_ai.embeddings.dimension.count": 1536,
    }
    usage = Usage(prompt=tokens)
    with trace.span(f"embeddings {EMBEDDING.name}", attributes | usage.attributes(), "CLIENT") as span:
        span.model, span.usage = EMBEDDING.answers_as, usage
        trace.wait(EMBEDDING.first_token_ms)


def _rerank(trace: Trace, agent_name: str, documents: int) -> None:
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": RERANKER.operation,
        "gen_ai.provider.name": RERANKER.provider,
        "gen_ai.request.model": RERANKER.name,
        "gen_ai.agent.name": agent_name,
        "rerank.documents.count": documents,
    }
    try:
        with trace.span(f"rerank {RERANKER.name}", attributes, "CLIENT") as span:
            span.model = RERANKER.name
            _may_fail(trace, RERANKER, RERANKER.failure_rate)
            trace.wait(RERANKER.first_token_ms)
    except Failure:
        pass  # the order of the vector database is good enough then


def function_tool(
    trace: Trace, agent_name: str, tool: str, url: str, milliseconds: float, failure_rate: float
) -> bool:
    """A tool that is a function calling an HTTP service, tried twice; False if it stayed broken."""
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": tool,
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": f"call_{trace.chance.getrandbits(48):012x}",
        "gen_ai.agent.name": agent_name,
    }
    request: dict[str, Value] = {
        "http.request.method": "GET",
        "url.template": url,
        "server.address": "orders.internal",
    }
    for _ in range(2):
        try:
            with trace.span(f"execute_tool {tool}", attributes):
                with trace.span(f"GET {url}", request, "CLIENT") as call:
                    trace.wait(milliseconds)
                    failed = trace.chance.random() < failure_rate
                    call.attributes["http.response.status_code"] = 503 if failed else 200
                    if failed:
                        raise Failure("503", "Service Unavailable")
                return True
        except Failure:
            trace.wait(200)
    return False


def mcp_tool(trace: Trace, agent_name: str, tool: str, milliseconds: float, failure_rate: float) -> bool:
    """A tool behind an MCP server: the client's span and the server's; False if it failed."""
    attributes: dict[str, Value] = {
        "mcp.method.name": "tools/call",
        "mcp.protocol.version": "2025-06-18",
        "mcp.session.id": f"{trace.chance.getrandbits(64):016x}",
        "jsonrpc.request.id": str(trace.chance.randint(1, 99)),
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": tool,
        "network.transport": "tcp",
    }
    try:
        with trace.span(f"tools/call {tool}", attributes | {"gen_ai.agent.name": agent_name}, "CLIENT"):
            trace.wait(3)
            with trace.span(f"tools/call {tool}", attributes, "SERVER", service="mcp-tools"):
                trace.wait(milliseconds)
                if trace.chance.random() < failure_rate:
                    raise Failure("tool_error", f"{tool} refused the arguments")
    except Failure:
        return False
    return True


def guardrail(trace: Trace, name: str, target: str, deny_rate: float) -> bool:
    """A check of what comes in or goes out; whether it may pass."""
    denied = trace.chance.random() < deny_rate
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": "apply_guardrail",
        "gen_ai.guardrail.name": name,
        "gen_ai.guardrail.target.type": target,
        "gen_ai.guardrail.verdict.type": "deny" if denied else "allow",
    }
    with trace.span(f"apply_guardrail {name}", attributes):
        trace.wait(25)
    return not denied


def evaluation(trace: Trace, name: str, score: float) -> None:
    """A score for the answer."""
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": "evaluate",
        "gen_ai.evaluation.name": name,
        "gen_ai.evaluation.score.value": round(score, 3),
        "gen_ai.evaluation.score.label": "pass" if score > 0.6 else "fail",
    }
    with trace.span(f"evaluate {name}", attributes):
        trace.wait(40)


def question(trace: Trace, email: str) -> str:
    """What the user asks; some give personal data away, as people do."""
    return trace.chance.choice(QUESTIONS).format(email=email)
