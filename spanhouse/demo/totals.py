"""What the demo has sent, so that it can be compared with what is stored."""

from __future__ import annotations

from dataclasses import dataclass, field

from spanhouse.demo.trace import PlannedSpan, Usage


@dataclass(slots=True)
class ModelTotals:
    """Calls of one model; `usage` sums the tokens of the calls that answered."""

    calls: int = 0
    errors: int = 0
    usage: Usage = field(default_factory=Usage)


@dataclass(slots=True)
class DemoTotals:
    """The ledger of a run.

    `models` is keyed by the name of the model that answered, or that was asked if none did. Tokens that an
    agent's span repeats from its model calls are not counted again.
    """

    traces: int = 0
    spans: int = 0
    errors: int = 0  # spans with the status error
    delivered: int = 0  # spans that the endpoint acknowledged
    models: dict[str, ModelTotals] = field(default_factory=dict)
    users: set[str] = field(default_factory=set)

    @property
    def model_calls(self) -> int:
        """Calls of any model: chat, embeddings, rerank."""
        return sum(model.calls for model in self.models.values())

    @property
    def tokens(self) -> int:
        """Input and output tokens of all models."""
        return sum(model.usage.prompt + model.usage.completion for model in self.models.values())

    def add(self, root: PlannedSpan) -> None:
        """Count a request."""
        self.traces += 1
        self.users.add(str(root.attributes["user.id"]))
        for span in root.walk():
            self.spans += 1
            self.errors += span.error is not None
            if span.model:
                model = self.models.setdefault(span.model, ModelTotals())
                model.calls += 1
                model.errors += span.error is not None
                model.usage += span.usage

    def __str__(self) -> str:
        return (
            f"{self.traces:,} traces, {self.spans:,} spans ({self.delivered:,} acknowledged), "
            f"{self.errors:,} errors, {self.model_calls:,} model calls, {self.tokens:,} tokens"
        )
