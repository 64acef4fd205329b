"""What the stand-in answers in each scenario: what a stored row must give, whatever library sent it.

Counts follow the rules of docs/data-model.md: input with the cached, output with the reasoning; the stand-in
turns them into each provider's own form. They are chosen so that no wrong sum or difference of them is right
elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal

SESSION = "session-7f3a"
USER = "user-42"
PROMPT = ("weather-question", 3)  # name and version, where the library has prompts
SCORE = ("helpfulness", 0.75)  # where the library has evaluations
TOOL = "get_weather"
CITY = "Paris"
QUESTION = "What is the weather in Paris?"
TOOL_RESULT = "18 degrees and sunny"
ANSWER = "It is 18 degrees and sunny in Paris."
TOOL_CALL_ID = "call_weather01"


@dataclass(frozen=True)
class Usage:
    """Tokens of one call; cached and reasoning tokens are parts of input and output."""

    input: int
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0

    @property
    def uncached(self) -> int:
        return self.input - self.cache_read - self.cache_write

    @property
    def total(self) -> int:
        return self.input + self.output


# Of a scenario's first answered call, its second one, and those after it.
USAGES = (
    Usage(input=1203, output=337, cache_read=512, cache_write=256, reasoning=128),
    Usage(input=2417, output=149, cache_read=1024, cache_write=384, reasoning=64),
    Usage(input=3011, output=83, cache_read=2048, cache_write=192, reasoning=16),
)
EMBEDDED = Usage(input=41)
# Cohere counts what the model saw too, with its template; it bills USAGES.
COHERE_SEEN = {1203: 1291, 2417: 2509, 3011: 3107, 41: 41, 337: 345, 149: 157, 83: 91}


@dataclass(frozen=True)
class Model:
    """A model as it is asked for.

    Attributes:
        provider: as the column `provider` has it.
        answers: the name in the answer; None where the provider's answer names no model.
        parts: which parts of Usage this provider counts for this model.
        price: US dollars per million tokens; empty where nobody sells it by the token.
        counted: whether the provider's answer tells the tokens.
    """

    provider: str
    answers: str | None
    parts: tuple[str, ...] = ()
    price: dict[str, str] = field(default_factory=dict)
    kind: str = "llm"
    counted: bool = True


_SONNET = {"input": "3", "cache_read": "0.3", "cache_write": "3.75", "output": "15"}
# Through a regional endpoint Bedrock takes a tenth more than Anthropic.
_REGIONAL_SONNET = {"input": "3.3", "cache_read": "0.33", "cache_write": "4.125", "output": "16.5"}
MODELS = {
    "gpt-4o-mini": Model(
        "openai",
        "gpt-4o-mini-2024-07-18",
        ("cache_read",),
        {"input": "0.15", "cache_read": "0.075", "output": "0.6"},
    ),
    "gpt-4.1": Model(
        "openai", "gpt-4.1-2025-04-14", ("cache_read",), {"input": "2", "cache_read": "0.5", "output": "8"}
    ),
    "o4-mini": Model(
        "openai",
        "o4-mini-2025-04-16",
        ("cache_read", "reasoning"),
        {"input": "1.1", "cache_read": "0.275", "output": "4.4"},
    ),
    "gpt-6-luna": Model(
        "openai",
        "gpt-6-luna",
        ("cache_read", "cache_write", "reasoning"),
        {"input": "0.1", "cache_read": "0.01", "cache_write": "0.125", "output": "0.5"},
    ),
    "text-embedding-3-small": Model(
        "openai", "text-embedding-3-small", price={"input": "0.02"}, kind="embedding"
    ),
    "claude-sonnet-4-5": Model(
        "anthropic", "claude-sonnet-4-5-20250929", ("cache_read", "cache_write", "reasoning"), _SONNET
    ),
    "gemini-2.5-flash": Model(
        "gcp.gemini",
        "gemini-2.5-flash",
        ("cache_read", "reasoning"),
        {"input": "0.3", "cache_read": "0.03", "output": "2.5"},
    ),
    "gemini-embedding-001": Model(
        "gcp.gemini", None, price={"input": "0.15"}, kind="embedding", counted=False
    ),
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0": Model(
        "aws.bedrock", None, ("cache_read", "cache_write"), _REGIONAL_SONNET
    ),
    "amazon.titan-embed-text-v2:0": Model("aws.bedrock", None, price={"input": "0.02"}, kind="embedding"),
    "mistral-large-latest": Model("mistral_ai", "mistral-large-latest", price={"input": "2", "output": "6"}),
    "mistral-embed": Model("mistral_ai", "mistral-embed", price={"input": "0.1"}, kind="embedding"),
    "command-r-plus-08-2024": Model("cohere", None, price={"input": "2.5", "output": "10"}),
    "embed-v4.0": Model("cohere", None, price={"input": "0.12"}, kind="embedding"),
    "rerank-v3.5": Model("cohere", None, kind="rerank", counted=False),  # billed by the search
    "llama3.2": Model("ollama", "llama3.2"),
    "nomic-embed-text": Model("ollama", "nomic-embed-text", kind="embedding"),
}


@dataclass(frozen=True)
class Scenario:
    """One thing that a program does with a library.

    Attributes:
        calls: how many model calls are answered.
        error: the HTTP status that the provider answers with, 'timeout', or 'tool' where a tool fails.
        tool: whether the model asks for the tool.
        agent: whether an agent runs: it asks the model, runs the tool, asks the model again, in one trace
            with SESSION and USER.
    """

    model: str
    calls: int = 1
    stream: bool = False
    error: int | str | None = None
    tool: bool = False
    agent: bool = False


def _chat(provider: str, model: str, tool_model: str = "") -> dict[str, Scenario]:
    return {
        f"{provider}_chat": Scenario(model),
        f"{provider}_chat_stream": Scenario(model, stream=True),
        f"{provider}_chat_tool": Scenario(tool_model or model, tool=True),
        f"{provider}_error_400": Scenario(model, calls=0, error=400),
        f"{provider}_error_429": Scenario(model, calls=0, error=429),
        f"{provider}_error_500": Scenario(model, calls=0, error=500),
        f"{provider}_timeout": Scenario(model, calls=0, error="timeout"),
        f"{provider}_agent": Scenario(tool_model or model, calls=2, tool=True, agent=True),
    }


_CLAUDE_ON_BEDROCK = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
SCENARIOS: dict[str, Scenario] = {
    **_chat("openai", "gpt-4o-mini", "gpt-4.1"),
    "openai_reasoning": Scenario("o4-mini"),
    "openai_responses": Scenario("gpt-6-luna"),
    "openai_responses_stream": Scenario("gpt-6-luna", stream=True),
    "openai_embeddings": Scenario("text-embedding-3-small"),
    # The agent's span repeats the usage of its calls.
    "openai_agent_repeated": Scenario("gpt-4.1", calls=2, tool=True, agent=True),
    **_chat("anthropic", "claude-sonnet-4-5"),
    # Traced twice: by a library, and by Anthropic's SDK beneath it.
    "anthropic_agent_twice": Scenario("claude-sonnet-4-5", calls=2, tool=True, agent=True),
    **_chat("google", "gemini-2.5-flash"),
    "google_embeddings": Scenario("gemini-embedding-001"),
    **_chat("bedrock", _CLAUDE_ON_BEDROCK),
    "bedrock_invoke": Scenario(_CLAUDE_ON_BEDROCK),
    "bedrock_invoke_stream": Scenario(_CLAUDE_ON_BEDROCK, stream=True),
    "bedrock_embeddings": Scenario("amazon.titan-embed-text-v2:0"),
    **_chat("mistral", "mistral-large-latest"),
    "mistral_embeddings": Scenario("mistral-embed"),
    **_chat("cohere", "command-r-plus-08-2024"),
    "cohere_embeddings": Scenario("embed-v4.0"),
    "cohere_rerank": Scenario("rerank-v3.5"),
    **_chat("ollama", "llama3.2"),
    "ollama_embeddings": Scenario("nomic-embed-text"),
    "mcp_tool": Scenario("", calls=0, tool=True),
    "mcp_error": Scenario("", calls=0, tool=True, error="tool"),
}


def usage(model: str, number: int) -> Usage:
    """Usage of a scenario's answered call `number` (from 0)."""
    what = MODELS[model]
    if not what.counted:
        return Usage(input=0)
    if what.kind == "embedding":
        return EMBEDDED
    full = USAGES[min(number, len(USAGES) - 1)]
    parts = ("cache_read", "cache_write", "reasoning")
    return replace(full, **{part: 0 for part in parts if part not in what.parts})


def cost(model: str, used: Usage) -> Decimal | None:
    """US dollars of one call, or None where the model has no price by the token or nobody counted them."""
    price = {kind: Decimal(text) for kind, text in MODELS[model].price.items()}
    if not price or not MODELS[model].counted:
        return None
    dollars = (
        used.uncached * price["input"]
        + used.cache_read * price.get("cache_read", price["input"])
        + used.cache_write * price.get("cache_write", price["input"])
        + used.output * price.get("output", Decimal(0))
    )
    return dollars / 1_000_000
