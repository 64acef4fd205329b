"""`spanhouse.yaml`: read, checked, and turned into what `up` runs.

The file's shape follows the OpenTelemetry Collector's: receivers, processors, exporters and
`service.pipelines`, with `${env:NAME}` in any value. docs/configuration.md describes every key.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, get_args, get_type_hints

import polars as pl
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
)

from spanhouse.batch import Processor
from spanhouse.errors import UserError
from spanhouse.yaml_lines import Document, Keys, read

BUILT_IN: Final = {
    "normalize": "spanhouse.processors.normalize:Normalize",
    "price": "spanhouse.processors.price:Price",
    "scrub": "spanhouse.processors.scrub:Scrub",
    "guard": "spanhouse.processors.guard:Guard",
}
RECEIVERS: Final = ("otlp", "kafka")
EXPORTERS: Final = ("clickhouse",)


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def local(self) -> Address:
        """Where this machine reaches a server that listens here."""
        anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
        return Address(anywhere.get(self.host, self.host), self.port)

    @classmethod
    def parse(cls, text: str) -> Address:
        """From `host:port`, `[::1]:port`; port 0 lets the system choose one."""
        match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]/]+)):([0-9]{1,5})", text)
        if match is None or int(match[3]) > 65535:
            raise ValueError(f"expected host:port, e.g. 127.0.0.1:4317 or [::1]:4317, not {text}")
        return cls(match[1] or match[2], int(match[3]))


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


def _address(value: object) -> object:
    return value if isinstance(value, Address) else Address.parse(str(value))


HostPort = Annotated[Address, BeforeValidator(_address)]
Positive = Annotated[int, Field(gt=0)]


class OtlpSettings(_Section):
    """receivers.otlp: what both OTLP doors take in."""

    max_body_bytes: Positive = 16 << 20
    max_queue_bytes: Positive = 64 << 20


class KafkaSettings(_Section):
    """receivers.kafka: what is read, and how much of it becomes one insert."""

    brokers: str = "localhost:9092"
    topic: str = "otel-spans"
    group: str = "spanhouse"
    # '' stands for the topic's name with .dlq appended.
    dead_letter_topic: str = ""
    batch_spans: Positive = 100_000
    batch_seconds: Annotated[float, Field(gt=0)] = 1.0
    stall_seconds: Positive = 300
    options: dict[str, str | int | float | bool] = {}

    @property
    def dead_letters(self) -> str:
        """Topic of what cannot be stored."""
        return self.dead_letter_topic or f"{self.topic}.dlq"


class ReceiversSettings(_Section):
    """The receivers section."""

    otlp: OtlpSettings = OtlpSettings()
    kafka: KafkaSettings = KafkaSettings()


class ClickHouseSettings(_Section):
    """exporters.clickhouse: the server that `translate` writes to, and the endpoint of `up`.

    `user` and `password` are those that spanhouse gives to a server, and that clients give to `up`.
    """

    url: str = ""
    database: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "spanhouse"
    cluster: str = ""
    user: str = ""
    password: str = ""
    max_rows: Positive = 10_000_000
    max_seconds: Positive = 60
    max_memory_bytes: Positive = 1 << 30


class ExportersSettings(_Section):
    """The exporters section."""

    clickhouse: ClickHouseSettings = ClickHouseSettings()


class ContentSettings(_Section):
    """content: whether prompts and completions are stored, and who may read them on the endpoint of `up`."""

    enabled: bool = False
    max_value_bytes: Annotated[int, Field(ge=64)] = 65_536
    user: str = "content"
    password: str = ""

    @property
    def kept_bytes(self) -> int:
        """The most that is stored of a value; 0 where nothing is."""
        return self.max_value_bytes if self.enabled else 0


def _web_address(value: str) -> str:
    if value and not re.fullmatch(r"https?://[^\s\"'<>]+", value):
        raise ValueError(f"expected an address such as http://localhost:3000, not {value}")
    return value.rstrip("/")


class PageSettings(_Section):
    """page: where the page of `up` listens, and which Grafana it links to; '' for none."""

    listen: HostPort = Address("127.0.0.1", 8080)
    grafana: Annotated[str, AfterValidator(_web_address)] = "http://localhost:3000"


class TracesPipeline(_Section):
    """service.pipelines.traces: which components run, processors in this order.

    No receivers stand for the command's own: `up` takes OTLP, `translate` reads Kafka.
    """

    receivers: list[str] = []
    processors: list[str] = list(BUILT_IN)
    exporters: list[str] = list(EXPORTERS)


class PipelinesSettings(_Section):
    """The pipelines."""

    traces: TracesPipeline = TracesPipeline()


class ServiceSettings(_Section):
    """The service section."""

    pipelines: PipelinesSettings = PipelinesSettings()


class FunctionSettings(_Section):
    """A user's own processor."""

    function: str


# Less than all: with no error allowed there would be no budget of errors to spend.
Share = Annotated[float, Field(gt=0, lt=1)]
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ObjectiveSettings(_Section):
    """One of `objectives`: what a service is to hold; '' is every service without a line of its own."""

    service: str = ""
    availability: Share = 0.99
    latency_ms: Amount = 10_000.0
    latency_share: Share = 0.95


class BudgetSettings(_Section):
    """One of `budgets`: what a tenant is to cost at most; '' is all tenants together."""

    tenant_id: str = ""
    usd_per_month: Amount


class Config(_Section):
    """What a configuration file and the flags say."""

    data: Path = Path("spanhouse-data")
    page: PageSettings = PageSettings()
    otlp_grpc: HostPort = Address("127.0.0.1", 4317)
    otlp_http: HostPort = Address("127.0.0.1", 4318)
    clickhouse_http: HostPort = Address("127.0.0.1", 8123)
    metrics: HostPort = Address("127.0.0.1", 9464)
    receivers: ReceiversSettings = ReceiversSettings()
    # Keyword arguments of the built-in processors; {'function': 'module:name'} for the user's own.
    processors: dict[str, dict[str, Any]] = {}
    exporters: ExportersSettings = ExportersSettings()
    content: ContentSettings = ContentSettings()
    service: ServiceSettings = ServiceSettings()
    objectives: list[ObjectiveSettings] = [ObjectiveSettings()]
    budgets: list[BudgetSettings] = []

    @property
    def max_body_bytes(self) -> int:
        """Largest OTLP request, compressed or not."""
        return self.receivers.otlp.max_body_bytes

    @property
    def max_queue_bytes(self) -> int:
        """Payload bytes that may wait to be stored."""
        return self.receivers.otlp.max_queue_bytes


def load(path: Path | None, overrides: Mapping[str, object]) -> Config:
    """The configuration of a file, or the defaults if there is none, with flags over it.

    Args:
        path: the file; relative paths in it are relative to its folder.
        overrides: values by flag, e.g. {"otlp-grpc": "0.0.0.0:4317"}.

    Raises:
        UserError: names every problem with its line and key, one per line.
    """
    document = Document(Path()) if path is None else read(path)
    config = _validate(document)
    if document.problems:
        raise UserError("\n".join(document.report()))
    flags = {flag.replace("-", "_"): value for flag, value in overrides.items()}
    if "page" in flags:
        flags["page"] = {**dict(config.page), "listen": flags["page"]}
    try:
        changed = Config.model_validate({**dict(config), **flags})
    except ValidationError as error:
        lines = [f"--{str(e['loc'][0]).replace('_', '-')}: {_message(e)}" for e in error.errors()]
        raise UserError("\n".join(lines)) from error
    return changed


def check(path: Path) -> list[str]:
    """What is wrong with a file, one line each: `file:line: key: what is expected`."""
    document = read(path)
    _validate(document)
    return document.report()


def build_processors(config: Config, *, hash_key: str) -> list[tuple[str, Processor]]:
    """(name, callable) of the pipeline's processors in its order.

    Args:
        config: from `load`.
        hash_key: scrub's key where the configuration gives none.

    Raises:
        UserError: a processor cannot be made with its settings.
    """
    built: list[tuple[str, Processor]] = []
    user_keys: list[str] = []
    for name in config.service.pipelines.traces.processors:
        settings = config.processors.get(name, {})
        if name not in BUILT_IN:
            built.append((name, _own(name, _import(settings["function"]))))
            continue
        if name == "scrub":
            known = [*settings.get("user_id_keys", ()), *user_keys]
            settings = {**settings, "hash_key": settings.get("hash_key") or hash_key, "user_id_keys": known}
        processor = _import(BUILT_IN[name])(**settings)
        # Whatever attribute a mapping takes for the user's id, scrub has to hash.
        targets = getattr(processor, "targets", {})
        user_keys += [raw.partition(":")[2] for raw, column in targets.items() if column == "user_id_hash"]
        built.append((name, processor))
    return built


def _own(name: str, function: Callable[..., Any]) -> Processor:
    """A user's processor, which may give back a LazyFrame."""

    def run(batch: pl.DataFrame) -> pl.DataFrame:
        result = function(batch)
        if isinstance(result, pl.LazyFrame):
            result = result.collect()
        if not isinstance(result, pl.DataFrame):
            raise TypeError(f"processor {name} returned {type(result).__name__} instead of a DataFrame")
        return result

    return run


def _import(target: str) -> Callable[..., Any]:
    """What `module:name` names; raises UserError with what is wrong."""
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        raise UserError(f'expected "module:function", not "{target}"')
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the user's code may raise anything
        raise UserError(f"cannot import {module_name}: {type(error).__name__}: {error}") from error
    function: Callable[..., Any] | None = getattr(module, name, None)
    if function is None or not callable(function):
        found = "is not callable" if hasattr(module, name) else "does not exist"
        raise UserError(f"{module_name} has been imported, but {name} in it {found}")
    return function


def _validate(document: Document) -> Config:
    """The document as a configuration; what is wrong is added to its problems."""
    folder = document.path.parent
    data = _with_flag_names(document)
    if isinstance(data.get("data"), str):
        data["data"] = folder / data["data"]
    processors = data.pop("processors", {})
    if not isinstance(processors, dict):
        document.problem(("processors",), "expected processors by name")
        processors = {}
    data["processors"] = {
        name: _processor(document, name, settings, folder) for name, settings in processors.items()
    }
    config = Config()
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        _note(document, (), Config, error)
    with suppress(ValidationError):  # noted just now
        service = ServiceSettings.model_validate(data.get("service", {}))
        _check_pipeline(document, service.pipelines.traces, processors)
    _check_repeated(document, "objectives", [one.service for one in config.objectives])
    _check_repeated(document, "budgets", [one.tenant_id for one in config.budgets])
    return config


def _check_repeated(document: Document, section: str, names: list[str]) -> None:
    for i, name in enumerate(names):
        if name in names[:i]:
            document.problem((section, i), f'"{name}" is listed twice')


def _with_flag_names(document: Document) -> dict[str, Any]:
    """The top level with `otlp-grpc` as `otlp_grpc`; a file may write either."""
    data: dict[str, Any] = {}
    for key, value in document.data.items():
        name = key.replace("-", "_")
        if name in data:
            document.problem((key,), "is given twice, with - and with _")
        document.lines.setdefault((name,), document.lines[key,])
        data[name] = value
    return data


def _processor(document: Document, name: str, settings: object, folder: Path) -> dict[str, Any]:
    """Keyword arguments of a processor, checked by making one."""
    where: Keys = ("processors", name)
    if name not in BUILT_IN and not (isinstance(settings, dict) and "function" in settings):
        hint = _suggestion(name, BUILT_IN)
        document.problem(where, f'unknown processor{hint} (one of your own needs "function: module:name")')
        return {}
    factory = _import(BUILT_IN[name]) if name in BUILT_IN else None
    model = _settings_of(factory) if factory else FunctionSettings
    try:
        arguments = dict(model.model_validate(settings))
    except ValidationError as error:
        _note(document, where, model, error)
        return {}
    arguments = {key: _in_folder(value, folder) for key, value in arguments.items()}
    try:
        if factory is None:
            # Last, so that a file in the folder never hides an installed module.
            if (path := str(folder.resolve())) not in sys.path:
                sys.path.append(path)
            _import(arguments["function"])
        else:
            factory(**arguments | ({"hash_key": arguments["hash_key"] or "-"} if name == "scrub" else {}))
    except UserError as error:
        for text in str(error).splitlines():
            document.problem((*where, "function") if factory is None else where, text)
    return arguments


def _settings_of(factory: Callable[..., Any]) -> type[BaseModel]:
    """A model of the arguments that a processor's class takes; keyword-only ones are no settings."""
    hints = get_type_hints(factory.__init__, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints[name], parameter.default)
        for name, parameter in inspect.signature(factory).parameters.items()
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    }
    return create_model(factory.__name__, __base__=_Section, **fields)


def _in_folder(value: Any, folder: Path) -> Any:
    if isinstance(value, Path):
        return folder / value
    return [_in_folder(item, folder) for item in value] if isinstance(value, list | tuple) else value


def _check_pipeline(document: Document, pipeline: TracesPipeline, processors: Iterable[str]) -> None:
    processors = dict.fromkeys((*BUILT_IN, *processors))
    known = {"receivers": RECEIVERS, "processors": processors, "exporters": EXPORTERS}
    for section, names in known.items():
        where: Keys = ("service", "pipelines", "traces", section)
        listed = getattr(pipeline, section)
        if not listed and section == "exporters":
            document.problem(where, f"expected at least one of: {', '.join(names)}")
        for i, name in enumerate(listed):
            if name not in names:
                document.problem((*where, i), f'"{name}" is not defined{_suggestion(name, names)}')
            elif name in listed[:i]:
                document.problem((*where, i), f'"{name}" is listed twice')


def _note(document: Document, where: Keys, model: type[BaseModel], error: ValidationError) -> None:
    for one in error.errors():
        keys = (*where, *one["loc"])
        # At the top level the file may have written - where the model has _.
        spelled = str(keys[0]).replace("_", "-")
        keys = (spelled, *keys[1:]) if (spelled,) in document.lines else keys
        if one["type"] != "extra_forbidden":
            document.problem(keys, _message(one))
            continue
        names = list(_model_at(model, one["loc"][:-1]).model_fields)
        if len(keys) == 1:
            names = [name.replace("_", "-") for name in names]
        document.problem(keys, f"unknown key{_suggestion(str(keys[-1]), names)}")


def _model_at(model: type[BaseModel], keys: Keys) -> type[BaseModel]:
    kind: Any = model
    for key in keys:
        # A number is the place in a list.
        kind = get_args(kind)[0] if isinstance(key, int) else kind.model_fields[key].annotation
    found: type[BaseModel] = kind
    return found


def _message(error: Any) -> str:
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "model_type":
        return "expected keys with values"
    message: str = error["msg"]
    return (
        message.removeprefix("Value error, ")
        .replace("Input should be", "expected")
        .replace("expected greater", "expected a number greater")
        .replace("expected less", "expected a number less")
    )


def _suggestion(name: str, names: Iterable[str]) -> str:
    names = list(names)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f"; known are {', '.join(names)}" if names else ""
