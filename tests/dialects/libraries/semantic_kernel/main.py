"""Microsoft's Semantic Kernel with its own telemetry of models, functions and agents."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Any

os.environ["SEMANTICKERNEL_EXPERIMENTAL_GENAI_ENABLE_OTEL_DIAGNOSTICS"] = "true"

import boto3
from anthropic import AsyncAnthropic
from botocore.config import Config
from google.genai import Client, types
from mistralai import Mistral
from ollama import AsyncClient
from openai import AsyncOpenAI
from scenarios import QUESTION, STANDIN, SYSTEM, TIMEOUT_S, get_weather, run, tracing
from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.anthropic import AnthropicChatCompletion
from semantic_kernel.connectors.ai.bedrock import BedrockChatCompletion
from semantic_kernel.connectors.ai.google.google_ai import GoogleAIChatCompletion
from semantic_kernel.connectors.ai.mistral_ai import MistralAIChatCompletion
from semantic_kernel.connectors.ai.ollama import OllamaChatCompletion
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion, OpenAITextEmbedding
from semantic_kernel.contents import ChatHistory
from semantic_kernel.functions import kernel_function

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
provider = tracing()


class Weather:
    @kernel_function(name="get_weather", description="Get the weather in a city.")
    def get_weather(self, city: str) -> str:
        return get_weather(city)


def openai_client(timeout_s: float = 30) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{STANDIN}/openai/v1", api_key="not-a-key", max_retries=0, timeout=timeout_s)


def openai(timeout_s: float = 30, model: str = "gpt-4o-mini") -> OpenAIChatCompletion:
    return OpenAIChatCompletion(ai_model_id=model, async_client=openai_client(timeout_s))


def anthropic(timeout_s: float = 30) -> AnthropicChatCompletion:
    client = AsyncAnthropic(
        base_url=f"{STANDIN}/anthropic", api_key="not-a-key", max_retries=0, timeout=timeout_s
    )
    return AnthropicChatCompletion(ai_model_id="claude-sonnet-4-5", async_client=client)


def google(timeout_s: float = 30) -> GoogleAIChatCompletion:
    options = types.HttpOptions(base_url=f"{STANDIN}/google", timeout=int(timeout_s * 1000))
    client = Client(api_key="not-a-key", http_options=options)
    return GoogleAIChatCompletion(gemini_model_id="gemini-2.5-flash", client=client)


def mistral(timeout_s: float = 30) -> MistralAIChatCompletion:
    client = Mistral(api_key="not-a-key", server_url=f"{STANDIN}/mistral", timeout_ms=int(timeout_s * 1000))
    return MistralAIChatCompletion(
        ai_model_id="mistral-large-latest", api_key="not-a-key", async_client=client
    )


def bedrock(timeout_s: float = 30) -> BedrockChatCompletion:
    config = Config(retries={"total_max_attempts": 1}, read_timeout=timeout_s)
    runtime = boto3.client("bedrock-runtime", endpoint_url=STANDIN, config=config)
    return BedrockChatCompletion(model_id=CLAUDE, runtime_client=runtime, client=boto3.client("bedrock"))


def ollama(timeout_s: float = 30) -> OllamaChatCompletion:
    return OllamaChatCompletion(ai_model_id="llama3.2", client=AsyncClient(host=STANDIN, timeout=timeout_s))


def history() -> ChatHistory:
    messages = ChatHistory(system_message=SYSTEM)
    messages.add_user_message(QUESTION)
    return messages


def chat(service: Any) -> None:
    settings = service.instantiate_prompt_execution_settings()
    asyncio.run(service.get_chat_message_contents(history(), settings))


def stream(service: Any) -> None:
    async def run_stream() -> None:
        settings = service.instantiate_prompt_execution_settings()
        async for _ in service.get_streaming_chat_message_contents(history(), settings):
            pass

    asyncio.run(run_stream())


def agent(service: Any) -> None:
    made = ChatCompletionAgent(
        service=service, name="weather_agent", instructions=SYSTEM, plugins=[Weather()]
    )
    asyncio.run(made.get_response(messages=QUESTION))


def of(
    name: str, service: Callable[..., Any], tool_service: Callable[..., Any] | None = None
) -> Mapping[str, Any]:
    return {
        f"{name}_chat": lambda: chat(service()),
        f"{name}_chat_stream": lambda: stream(service()),
        f"{name}_error_400": lambda: chat(service()),
        f"{name}_error_429": lambda: chat(service()),
        f"{name}_error_500": lambda: chat(service()),
        f"{name}_timeout": lambda: chat(service(TIMEOUT_S)),
        f"{name}_agent": lambda: agent((tool_service or service)()),
    }


def embeddings() -> None:
    service = OpenAITextEmbedding(ai_model_id="text-embedding-3-small", async_client=openai_client())
    asyncio.run(service.generate_embeddings([QUESTION]))


run(
    provider.force_flush,
    of("openai", openai, lambda: openai(model="gpt-4.1")),
    {"openai_reasoning": lambda: chat(openai(model="o4-mini")), "openai_embeddings": embeddings},
    of("anthropic", anthropic),
    of("google", google),
    {
        k: v for k, v in of("mistral", mistral).items() if "stream" not in k
    },  # ends in an IndexError of its own
    of("bedrock", bedrock),
    of("ollama", ollama),
)
