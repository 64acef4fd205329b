"""The demo company's workflows: what happens between a user's question and its answer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

from spanhouse.demo import calls
from spanhouse.demo.calls import Prompt
from spanhouse.demo.trace import Failure, PlannedSpan, Trace, Usage, Value
from spanhouse.demo.world import (
    CLAUDE_SONNET,
    GEMINI_FLASH,
    GEMINI_PRO,
    GPT_4O,
    GPT_4O_MINI,
    MISTRAL_SMALL,
    O4_MINI,
    SELF_HOSTED,
    Session,
    User,
    World,
)

EXPERIMENT: Final = "answer-model"


def request(world: World) -> PlannedSpan:
    """The next request of the next user, as the tree of its spans."""
    user, session = world.next_turn()
    ((workflow, route, service, run),) = world.chance.choices(WORKFLOWS, cum_weights=SHARES)
    common: dict[str, Value] = {
        "tenant.id": user.tenant,
        "user.id": user.id,
        "gen_ai.conversation.id": session.id,
    }
    trace = Trace(world.chance, common)
    attributes: dict[str, Value] = {
        "http.request.method": "POST",
        "http.route": route,
        "url.scheme": "https",
        "client.address": "203.0.113.7",
    }
    try:
        with trace.span(f"POST {route}", attributes, "SERVER", service="api-gateway") as root:
            with trace.span("load session", {}):
                _select(trace, "sessions")
            try:
                with _workflow(trace, workflow, service):
                    run(trace, user, session)
            except Failure as failure:
                root.attributes["http.response.status_code"] = 500
                raise Failure("500", f"{workflow} failed") from failure
            root.attributes["http.response.status_code"] = 200
    except Failure:
        pass  # the user has got a 500
    return root


def _workflow(trace: Trace, name: str, service: str) -> AbstractContextManager[PlannedSpan]:
    trace.common = trace.common | {"gen_ai.workflow.name": name}
    return trace.span(
        f"invoke_workflow {name}", {"gen_ai.operation.name": "invoke_workflow"}, service=service
    )


def _select(trace: Trace, table: str) -> None:
    attributes: dict[str, Value] = {
        "db.system.name": "postgresql",
        "db.operation.name": "SELECT",
        "db.collection.name": table,
    }
    with trace.span(f"SELECT {table}", attributes, "CLIENT"):
        trace.wait(4)


def customer_support(trace: Trace, user: User, session: Session) -> None:
    """Guardrail, a planner, retrieval, tools, a streamed answer, at times an evaluation.

    Users are in one of two variants of an experiment (which model answers), and prompt version v8, which
    half of the traffic has, is a third shorter than v7 and answers at more length.
    """
    chance = trace.chance
    trace.common = trace.common | {"experiment.name": EXPERIMENT, "experiment.variant": user.variant}
    if not calls.guardrail(trace, "prompt-injection", "input", deny_rate=0.02):
        return
    with calls.agent(trace, "planner"):
        usage = Usage(chance.randint(500, 900), chance.randint(40, 120))
        calls.chat(trace, "planner", GPT_4O_MINI, usage, prompt=Prompt("support-plan", "v3"))
        calls.retrieve(trace, "planner", "help-center", documents=20)
    with calls.agent(trace, "support"):
        for tool in chance.sample(TOOLS, k=chance.choice((0, 1, 1, 2))):
            tool(trace)
        _answer(trace, user, session)
    if chance.random() < 0.3:
        calls.evaluation(trace, "faithfulness", chance.betavariate(8, 2))


def _answer(trace: Trace, user: User, session: Session) -> None:
    chance = trace.chance
    version = chance.choice(("v7", "v8"))
    instructions = 3000 if version == "v7" else 2000
    history = 400 * (session.turn - 1)
    usage = Usage(
        prompt=instructions + history + chance.randint(80, 400),
        completion=chance.randint(120, 350) if version == "v7" else chance.randint(200, 500),
    )
    model = CLAUDE_SONNET if user.variant == "treatment" else GPT_4O
    # The instructions are the same for everybody. Anthropic's cache is written by the call that says so,
    # which is the first of a session here, and billed for it; OpenAI's fills by itself.
    if session.turn > 1:
        usage.cache_read = instructions // 128 * 128
    elif model is CLAUDE_SONNET:
        usage.cache_write = instructions
    calls.chat(
        trace, "support", model, usage, prompt=Prompt("support-answer", version), stream=True,
        question=calls.question(trace, user.email),
    )  # fmt: skip


def order_status(trace: Trace) -> None:
    """A quick tool."""
    calls.function_tool(trace, "support", "order_status", "/orders/{id}", 40, failure_rate=0.005)


def warehouse_stock(trace: Trace) -> None:
    """The slow tool."""
    calls.function_tool(trace, "support", "warehouse_stock", "/stock/{sku}", 3500, failure_rate=0.01)


def track_parcel(trace: Trace) -> None:
    """The flaky tool."""
    calls.function_tool(trace, "support", "track_parcel", "/parcels/{id}", 250, failure_rate=0.25)


def refund(trace: Trace) -> None:
    """A tool behind an MCP server."""
    calls.mcp_tool(trace, "support", "refund", 180, failure_rate=0.04)


TOOLS: Final = (order_status, order_status, warehouse_stock, track_parcel, refund)


def deep_research(trace: Trace, _user: User, _session: Session) -> None:
    """A reasoning model plans, searches run side by side, a large model writes the report.

    The framework repeats the tokens of all calls on the agent's own span, as several do.
    """
    chance = trace.chance
    with calls.agent(trace, "researcher") as agent:
        thinking = chance.randint(600, 3000)
        plan = Usage(chance.randint(800, 1500), thinking + chance.randint(150, 400), reasoning=thinking)
        used = [calls.chat(trace, "researcher", O4_MINI, plan, prompt=Prompt("research-plan", "v1"))]
        started, ends = trace.now, []
        for _ in range(chance.randint(2, 4)):
            trace.now = started
            used += _search(trace)
            ends.append(trace.now)
        trace.now = max(ends)
        thinking = chance.randint(300, 1200)
        report = Usage(chance.randint(9000, 30000), thinking + chance.randint(900, 2500), reasoning=thinking)
        used.append(calls.chat(trace, "researcher", GEMINI_PRO, report, stream=True))
        total = Usage(sum(u.prompt for u in used), sum(u.completion for u in used))
        agent.attributes |= total.attributes()
    calls.guardrail(trace, "personal-data", "output", deny_rate=0.01)


def _search(trace: Trace) -> list[Usage]:
    if not calls.mcp_tool(trace, "researcher", "web_search", 700, failure_rate=0.05):
        return []
    usage = Usage(trace.chance.randint(3000, 9000), trace.chance.randint(150, 400))
    return [calls.chat(trace, "researcher", GEMINI_FLASH, usage, prompt=Prompt("digest", "v2"))]


def ticket_summary(trace: Trace, _user: User, _session: Session) -> None:
    """A cheap workflow on the company's own model, with a hosted one to fall back on."""
    chance = trace.chance
    with calls.agent(trace, "summarizer"):
        _select(trace, "tickets")
        usage = Usage(chance.randint(600, 2500), chance.randint(60, 180))
        prompt = Prompt("ticket-summary", "v5")
        model = SELF_HOSTED if chance.random() < 0.6 else MISTRAL_SMALL
        try:
            calls.chat(trace, "summarizer", model, usage, prompt=prompt)
        except Failure:
            calls.chat(trace, "summarizer", GPT_4O_MINI, usage, prompt=prompt)


Workflow = Callable[[Trace, User, Session], None]
WORKFLOWS: Final[tuple[tuple[str, str, str, Workflow], ...]] = (
    ("customer-support", "/v1/chat", "support-agent", customer_support),
    ("deep-research", "/v1/research", "research-agent", deep_research),
    ("ticket-summary", "/v1/tickets/{id}/summary", "ticket-summarizer", ticket_summary),
)
SHARES: Final = (65, 75, 100)  # cumulated, in percent
