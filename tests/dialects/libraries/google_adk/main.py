"""Google's Agent Development Kit (ADK) with its own telemetry: Gemini by itself, others through LiteLLM."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Any

from scenarios import QUESTION, SESSION, STANDIN, SYSTEM, TIMEOUT_S, USER, get_weather, run, tracing

os.environ["GOOGLE_API_KEY"] = os.environ["GEMINI_API_KEY"]
os.environ["GOOGLE_GEMINI_BASE_URL"] = f"{STANDIN}/google"
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

from google.adk.agents import LlmAgent, RunConfig
from google.adk.agents.run_config import StreamingMode
from google.adk.models.lite_llm import LiteLlm
from google.adk.runners import InMemoryRunner
from google.genai import types

provider = tracing()


def ask(model: Any, *, stream: bool = False, timeout_s: float = 30, tools: list[Any] | None = None) -> None:
    async def answer() -> None:
        options = types.HttpOptions(timeout=int(timeout_s * 1000))
        agent = LlmAgent(
            name="weather_agent",
            model=model,
            instruction=SYSTEM,
            tools=tools or [],
            generate_content_config=types.GenerateContentConfig(http_options=options),
        )
        runner = InMemoryRunner(agent=agent, app_name="weather")
        session = {"app_name": "weather", "user_id": USER, "session_id": SESSION}
        await runner.session_service.create_session(**session)
        message = types.Content(role="user", parts=[types.Part(text=QUESTION)])
        mode = StreamingMode.SSE if stream else StreamingMode.NONE
        async for event in runner.run_async(
            user_id=USER,
            session_id=SESSION,
            new_message=message,
            run_config=RunConfig(streaming_mode=mode),
        ):
            if event.error_code and event.error_code != "STOP":
                raise RuntimeError(event.error_message)

    asyncio.run(answer())


def of(name: str, model: Callable[..., Any], tool_model: Callable[..., Any]) -> Mapping[str, Any]:
    return {
        f"{name}_chat": lambda: ask(model()),
        f"{name}_chat_stream": lambda: ask(model(), stream=True),
        f"{name}_error_400": lambda: ask(model()),
        f"{name}_error_429": lambda: ask(model()),
        f"{name}_error_500": lambda: ask(model()),
        f"{name}_timeout": lambda: ask(model(TIMEOUT_S), timeout_s=TIMEOUT_S),
        f"{name}_agent": lambda: ask(tool_model(), tools=[get_weather]),
    }


def gemini(timeout_s: float = 30) -> str:
    return "gemini-2.5-flash"


def lite(model: str, base: str) -> Callable[..., LiteLlm]:
    def made(timeout_s: float = 30) -> LiteLlm:
        return LiteLlm(model=model, api_base=base, max_retries=0, num_retries=0, timeout=timeout_s)

    return made


openai = lite("openai/gpt-4o-mini", f"{STANDIN}/openai/v1")
anthropic = lite("anthropic/claude-sonnet-4-5", f"{STANDIN}/anthropic")
mistral = lite("mistral/mistral-large-latest", f"{STANDIN}/mistral/v1")
run(
    provider.force_flush,
    of("google", gemini, gemini),
    of("openai", openai, lite("openai/gpt-4.1", f"{STANDIN}/openai/v1")),
    of("anthropic", anthropic, anthropic),
    of("mistral", mistral, mistral),
)
