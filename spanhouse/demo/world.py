"""What the demo's made-up company consists of: services, models, tenants, users and their sessions."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Service:
    """A process with a resource of its own."""

    version: str
    env: str = "production"


SERVICES: Final = {
    "api-gateway": Service("2.14.0"),
    "support-agent": Service("5.3.1"),
    "research-agent": Service("0.9.4"),
    "ticket-summarizer": Service("1.2.0-rc1", env="staging"),
    "retrieval": Service("3.0.2"),
    "mcp-tools": Service("1.7.0"),
}


@dataclass(frozen=True, slots=True)
class Model:
    """A model as its provider names it, and how fast and reliable it is."""

    provider: str
    name: str
    answers_as: str
    address: str
    first_token_ms: float = 400
    tokens_per_s: float = 80
    operation: str = "chat"
    failure_rate: float = 0.01
    reasons: bool = False
    port: int = 443


GPT_4O: Final = Model("openai", "gpt-4o", "gpt-4o-2024-08-06", "api.openai.com", failure_rate=0.04)
GPT_4O_MINI: Final = Model(
    "openai", "gpt-4o-mini", "gpt-4o-mini-2024-07-18", "api.openai.com", first_token_ms=280, tokens_per_s=110
)
O4_MINI: Final = Model(
    "openai", "o4-mini", "o4-mini-2025-04-16", "api.openai.com", first_token_ms=900, reasons=True
)
CLAUDE_SONNET: Final = Model(
    "anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929", "api.anthropic.com",
    first_token_ms=700, tokens_per_s=65, failure_rate=0.03,
)  # fmt: skip
GEMINI_PRO: Final = Model(
    "gcp.gemini", "gemini-2.5-pro", "gemini-2.5-pro", "generativelanguage.googleapis.com",
    first_token_ms=1100, operation="generate_content", reasons=True,
)  # fmt: skip
GEMINI_FLASH: Final = Model(
    "gcp.gemini", "gemini-2.5-flash", "gemini-2.5-flash", "generativelanguage.googleapis.com",
    first_token_ms=320, tokens_per_s=180, operation="generate_content",
)  # fmt: skip
MISTRAL_SMALL: Final = Model(
    "mistral_ai", "mistral-small-latest", "mistral-small-2506", "api.mistral.ai", first_token_ms=250
)
# No price table knows the company's own model: its calls are `unpriced`.
SELF_HOSTED: Final = Model(
    "vllm", "helios-7b-support", "helios-7b-support", "llm.internal",
    first_token_ms=120, tokens_per_s=45, failure_rate=0.02, port=8000,
)  # fmt: skip
EMBEDDING: Final = Model(
    "openai", "text-embedding-3-small", "text-embedding-3-small", "api.openai.com",
    first_token_ms=60, operation="embeddings", failure_rate=0,
)  # fmt: skip
# Billed by search and not by token.
RERANKER: Final = Model(
    "cohere", "rerank-v3.5", "rerank-v3.5", "api.cohere.com", first_token_ms=90, operation="rerank"
)

# Tenants with their share of the users.
TENANTS: Final = {
    "acme": 40, "globex": 22, "initech": 12, "umbrella": 9, "hooli": 7, "stark": 5, "wayne": 3, "wonka": 2,
}  # fmt: skip

# A provider that has just failed is likely to fail again.
FAILS_AGAIN: Final = 0.4

# How retryable failures of a model look: (error.type, message).
MODEL_FAILURES: Final = {
    "openai": ("rate_limit_exceeded", "429 Rate limit reached for requests, try again in 1s"),
    "anthropic": ("overloaded_error", "529 Overloaded"),
    "gcp.gemini": ("RESOURCE_EXHAUSTED", "429 Quota exceeded for generate_content requests per minute"),
    "mistral_ai": ("service_unavailable", "503 Service unavailable"),
    "vllm": ("timeout", "Request timed out after 8.0 s"),
    "cohere": ("timeout", "Request timed out after 8.0 s"),
}

QUESTIONS: Final = (
    "Where is my order?",
    "I want my money back for the blue one.",
    "The invoice of last month has the wrong address.",
    "Can I change the delivery date?",
    "My e-mail is {email}, please reset my account.",
    "Call me at +1 415 555 0132 about the refund to card 4111 1111 1111 1111.",
)


@dataclass(slots=True)
class Session:
    """A conversation of one user."""

    id: str
    turns: int
    turn: int = 0


@dataclass(slots=True)
class User:
    """Somebody who asks; stays in one variant of the experiment, as real assignments do."""

    id: str
    email: str
    tenant: str
    variant: str
    session: Session | None = None


class World:
    """Draws who asks next; the same generator state gives the same people and sessions."""

    def __init__(self, users: int, chance: random.Random) -> None:
        self.chance = chance
        tenants, shares = list(TENANTS), list(TENANTS.values())
        self.users: list[User] = []
        weights: list[float] = []
        for number in range(users):
            (tenant,) = chance.choices(tenants, shares)
            variant = "treatment" if chance.random() < 0.5 else "control"
            self.users.append(User(f"user-{number:04}", f"user{number:04}@{tenant}.example", tenant, variant))
            weights.append((weights[-1] if weights else 0) + 1 / (number + 1) ** 0.7)
        self._weights = weights

    def next_turn(self) -> tuple[User, Session]:
        """Who asks next, and in which conversation: one that goes on, or a new one."""
        (user,) = self.chance.choices(self.users, cum_weights=self._weights)
        if user.session is None or user.session.turn == user.session.turns:
            user.session = Session(f"conv_{self.chance.getrandbits(64):016x}", self.chance.randint(1, 6))
        user.session.turn += 1
        return user, user.session
