"""The scenarios of LangChain's models and its agent, for libraries that trace LangChain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import boto3
from botocore.config import Config
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_aws import ChatBedrockConverse
from langchain_core.messages import SystemMessage
from langchain_core.tools import tool
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from scenarios import QUESTION, SESSION, STANDIN, SYSTEM, TIMEOUT_S, USER, get_weather

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
CACHED = [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}]


def openai(model: str = "gpt-4o-mini", **more: Any) -> ChatOpenAI:
    return ChatOpenAI(model=model, max_retries=0, stream_usage=True, **more)


def anthropic(**more: Any) -> ChatAnthropic:
    return ChatAnthropic(model="claude-sonnet-4-5", max_retries=0, max_tokens=1000, **more)


def google(**more: Any) -> ChatGoogleGenerativeAI:
    return ChatGoogleGenerativeAI(
        model="gemini-2.5-flash", max_retries=1, base_url=f"{STANDIN}/google", **more
    )


def bedrock(timeout: float = 30) -> ChatBedrockConverse:
    config = Config(retries={"total_max_attempts": 1}, read_timeout=timeout)
    client = boto3.client("bedrock-runtime", endpoint_url=STANDIN, config=config)
    return ChatBedrockConverse(model=CLAUDE, client=client, bedrock_client=client)


MODELS: dict[str, Callable[..., Any]] = {
    "openai": openai,
    "anthropic": anthropic,
    "google": google,
    "bedrock": bedrock,
}


def messages(provider: str) -> list[Any]:
    return [SystemMessage(CACHED if provider == "anthropic" else SYSTEM), ("user", QUESTION)]


def stream(provider: str) -> None:
    for _ in MODELS[provider]().stream(messages(provider)):
        pass


def agent(provider: str) -> None:
    """LangChain's agent, with the session, user and more as its docs have it."""
    model = openai("gpt-4.1") if provider == "openai" else MODELS[provider]()
    made = create_agent(model, tools=[tool(get_weather)], system_prompt=SYSTEM, name="weather_agent")
    made.invoke(
        {"messages": [("user", QUESTION)]},
        config={
            "metadata": {"session_id": SESSION, "user_id": USER, "plan": "pro"},
            "tags": ["test"],
            "run_name": "weather",
        },
    )


def of(provider: str) -> Mapping[str, Callable[[], Any]]:
    def chat(**more: Any) -> Any:
        return MODELS[provider](**more).invoke(messages(provider))

    return {
        f"{provider}_chat": chat,
        f"{provider}_chat_stream": lambda: stream(provider),
        f"{provider}_chat_tool": lambda: (
            (openai("gpt-4.1") if provider == "openai" else MODELS[provider]())
            .bind_tools([tool(get_weather)])
            .invoke(messages(provider))
        ),
        f"{provider}_error_400": chat,
        f"{provider}_error_429": chat,
        f"{provider}_error_500": chat,
        f"{provider}_timeout": lambda: chat(timeout=TIMEOUT_S),
        f"{provider}_agent": lambda: agent(provider),
    }


SCENARIOS: dict[str, Callable[[], Any]] = {
    "openai_reasoning": lambda: openai("o4-mini").invoke(messages("openai")),
    "openai_responses": lambda: openai("gpt-6-luna", use_responses_api=True).invoke(messages("openai")),
    "openai_embeddings": lambda: OpenAIEmbeddings(
        model="text-embedding-3-small", max_retries=0, check_embedding_ctx_length=False
    ).embed_query(QUESTION),
}
for _provider in MODELS:
    SCENARIOS.update(of(_provider))
