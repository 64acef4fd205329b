"""Pydantic AI's own instrumentation; what its agents ask the providers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import boto3
import cohere
from botocore.config import Config
from pydantic_ai import Agent, Embedder, InstrumentationSettings
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.models.anthropic import AnthropicModel, AnthropicModelSettings
from pydantic_ai.models.bedrock import BedrockConverseModel
from pydantic_ai.models.cohere import CohereModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.mistral import MistralModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.bedrock import BedrockProvider
from pydantic_ai.providers.cohere import CohereProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.mistral import MistralProvider
from scenarios import QUESTION, SESSION, STANDIN, SYSTEM, TIMEOUT_S, USER, get_weather, run, tracing

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
provider = tracing()
Agent.instrument_all(InstrumentationSettings(tracer_provider=provider))
Embedder.instrument_all(InstrumentationSettings(tracer_provider=provider))


def bedrock(timeout_s: float = 30) -> BedrockConverseModel:
    config = Config(retries={"total_max_attempts": 1}, read_timeout=timeout_s)
    client = boto3.client("bedrock-runtime", endpoint_url=STANDIN, config=config)
    return BedrockConverseModel(CLAUDE, provider=BedrockProvider(bedrock_client=client))


def command_r(timeout_s: float = 30) -> CohereModel:
    client = cohere.AsyncClientV2(
        api_key="not-a-key", base_url=f"{STANDIN}/cohere", max_retries=0, timeout=timeout_s
    )
    return CohereModel("command-r-plus-08-2024", provider=CohereProvider(cohere_client=client))


def gemini() -> GoogleModel:
    provider = GoogleProvider(api_key="not-a-key", base_url=f"{STANDIN}/google")
    return GoogleModel("gemini-2.5-flash", provider=provider)


def mistral() -> MistralModel:
    provider = MistralProvider(api_key="not-a-key", base_url=f"{STANDIN}/mistral")
    return MistralModel("mistral-large-latest", provider=provider)


def ask(model: Any, *, stream: bool = False, **settings: Any) -> None:
    settings = {"max_retries": 0, **settings}
    agent = Agent(model, name="weather_agent", instructions=SYSTEM, model_settings=settings)
    if not stream:
        agent.run_sync(QUESTION)
        return
    result = agent.run_stream_sync(QUESTION)
    for _ in result.stream_text():
        pass


def with_tool(model: Any, **settings: Any) -> None:
    settings = {"max_retries": 0, **settings}
    agent = Agent(
        model,
        name="weather_agent",
        instructions=SYSTEM,
        tools=[get_weather],
        model_settings=settings,
        metadata={"user.id": USER},
    )
    agent.run_sync(QUESTION, conversation_id=SESSION)


def repeated() -> None:
    """As before version 2 of Pydantic AI, and by a setting since."""
    settings = InstrumentationSettings(tracer_provider=provider, use_aggregated_usage_attribute_names=False)
    Agent.instrument_all(settings)
    with_tool(OpenAIChatModel("gpt-4.1"))
    Agent.instrument_all(InstrumentationSettings(tracer_provider=provider))


def of(name: str, model: Callable[[], Any], **settings: Any) -> Mapping[str, Callable[[], None]]:
    return {
        f"{name}_chat": lambda: ask(model(), **settings),
        f"{name}_chat_stream": lambda: ask(model(), stream=True, **settings),
        f"{name}_error_400": lambda: ask(model(), **settings),
        f"{name}_error_429": lambda: ask(model(), **settings),
        f"{name}_error_500": lambda: ask(model(), **settings),
        f"{name}_timeout": lambda: ask(model(), timeout=TIMEOUT_S, **settings),
        f"{name}_agent": lambda: with_tool(model(), **settings),
    }


cached = AnthropicModelSettings(anthropic_cache_instructions=True, max_tokens=1000)
run(
    provider.force_flush,
    of("openai", lambda: OpenAIChatModel("gpt-4o-mini")),
    {
        "openai_reasoning": lambda: ask(OpenAIChatModel("o4-mini")),
        "openai_responses": lambda: ask(OpenAIResponsesModel("gpt-6-luna")),
        "openai_responses_stream": lambda: ask(OpenAIResponsesModel("gpt-6-luna"), stream=True),
        "openai_embeddings": lambda: Embedder(
            OpenAIEmbeddingModel("text-embedding-3-small")
        ).embed_query_sync(QUESTION),
        "openai_agent": lambda: with_tool(OpenAIChatModel("gpt-4.1")),
        "openai_agent_repeated": repeated,
    },
    of("anthropic", lambda: AnthropicModel("claude-sonnet-4-5"), **cached),
    of("google", gemini),
    of("bedrock", bedrock),
    {"bedrock_timeout": lambda: ask(bedrock(TIMEOUT_S))},
    of("mistral", mistral),
    of("cohere", command_r),
    {"cohere_timeout": lambda: ask(command_r(TIMEOUT_S))},
)
