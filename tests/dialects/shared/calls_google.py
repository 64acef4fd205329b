"""The scenarios of Google's google-genai SDK, for every library that instruments it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from google import genai
from google.genai import types
from scenarios import DESCRIPTION, PARAMETERS, QUESTION, STANDIN, SYSTEM, TIMEOUT_S, get_weather

PROVIDER = "google"
MODEL = "gemini-2.5-flash"
SCHEMA = {key: value for key, value in PARAMETERS.items() if key != "additionalProperties"}
FUNCTION = {"name": "get_weather", "description": DESCRIPTION, "parameters": SCHEMA}
TOOLS: list[Any] = [{"function_declarations": [FUNCTION]}]


@lru_cache
def client(timeout_s: float = 30) -> genai.Client:
    options = types.HttpOptions(base_url=f"{STANDIN}/google", timeout=int(timeout_s * 1000))
    return genai.Client(api_key="not-a-key", http_options=options)


def config(**more: Any) -> types.GenerateContentConfig:
    return types.GenerateContentConfig(system_instruction=SYSTEM, **more)


def chat(timeout_s: float = 30) -> None:
    client(timeout_s).models.generate_content(model=MODEL, contents=QUESTION, config=config())


def chat_stream() -> None:
    here = client()
    for _ in here.models.generate_content_stream(model=MODEL, contents=QUESTION, config=config()):
        pass


def chat_tool() -> None:
    client().models.generate_content(model=MODEL, contents=QUESTION, config=config(tools=TOOLS))


def embeddings() -> None:
    client().models.embed_content(model="gemini-embedding-001", contents=QUESTION)


SCENARIOS: dict[str, Callable[[], None]] = {
    "google_chat": chat,
    "google_chat_stream": chat_stream,
    "google_chat_tool": chat_tool,
    "google_embeddings": embeddings,
    "google_error_400": chat,
    "google_error_429": chat,
    "google_error_500": chat,
    "google_timeout": lambda: chat(TIMEOUT_S),
}


def agent(tool: Callable[[str], str] = get_weather) -> str:
    """Ask the model, run the tool that it asks for, and ask again."""
    contents: list[Any] = [types.Content(role="user", parts=[types.Part(text=QUESTION)])]
    here = client()
    while True:
        answer = here.models.generate_content(model=MODEL, contents=contents, config=config(tools=TOOLS))
        if not answer.function_calls:
            return answer.text or ""
        contents.append(answer.candidates[0].content)
        for call in answer.function_calls:
            result = {"result": tool(**call.args)}
            part = types.Part.from_function_response(name=call.name, response=result)
            contents.append(types.Content(role="user", parts=[part]))
