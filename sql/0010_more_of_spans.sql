-- What spans say of how good something was: evaluators' scores, users' feedback, guardrails' verdicts. `ts` is when the
-- span started that says so, so that all rows of a span are in one part.
CREATE TABLE IF NOT EXISTS evaluations
(
    ts DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    -- Its place among the span's.
    number UInt32 CODEC(T64, ZSTD(1)),
    -- The span that was evaluated: the same one, or its parent.
    evaluated_span_id String CODEC(ZSTD(1)),
    tenant_id LowCardinality(String),
    -- As in agent_events, of the span that says so.
    service LowCardinality(String),
    env LowCardinality(String),
    agent LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    route LowCardinality(String),
    prompt_name LowCardinality(String),
    prompt_version LowCardinality(String),
    experiment LowCardinality(String),
    variant LowCardinality(String),
    -- evaluation, feedback, guardrail
    type LowCardinality(String),
    name LowCardinality(String),
    score Nullable(Float64) CODEC(ZSTD(1)),
    label LowCardinality(String),
    explanation String CODEC(ZSTD(1)),
    -- Who judged, or what kind of judge.
    evaluator LowCardinality(String),
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1)),
    INDEX trace_id_filter trace_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(ts)
ORDER BY (tenant_id, name, ts)
TTL toDateTime(ts) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1;

ALTER TABLE evaluations MODIFY SETTING non_replicated_deduplication_window = 10000;

-- Of a model's answer why it ended, of any call how often it was tried again, of a tool's how large its arguments and its
-- result were, which are not kept here.
ALTER TABLE agent_events
    ADD COLUMN IF NOT EXISTS finish_reason LowCardinality(String) AFTER variant,
    ADD COLUMN IF NOT EXISTS retries UInt64 CODEC(T64, ZSTD(1)) AFTER finish_reason,
    ADD COLUMN IF NOT EXISTS tool_input_bytes UInt64 CODEC(T64, ZSTD(1)) AFTER tool_name,
    ADD COLUMN IF NOT EXISTS tool_output_bytes UInt64 CODEC(T64, ZSTD(1)) AFTER tool_input_bytes;

-- As in 0006_otel_traces.sql, with the columns that an attribute may now stand in as well.
CREATE OR REPLACE VIEW otel_traces AS
WITH
    JSONExtractKeysAndValues(promoted, 'String') AS stands,
    map(
        'kind', toString(kind), 'service', toString(service), 'service_version', toString(service_version),
        'env', toString(env), 'tenant_id', toString(tenant_id), 'agent', toString(agent),
        'workflow', toString(workflow), 'session_id', session_id, 'user_id_hash', user_id_hash,
        'provider', toString(provider), 'model', toString(model), 'operation', toString(operation),
        'route', toString(route), 'tool_name', toString(tool_name), 'prompt_name', toString(prompt_name),
        'prompt_version', toString(prompt_version), 'experiment', toString(experiment), 'variant', toString(variant),
        'finish_reason', toString(finish_reason), 'retries', toString(retries),
        'status', toString(status), 'error_type', toString(error_type), 'error_message', error_message,
        'latency_ms', toString(latency_ms), 'ttft_ms', toString(ifNull(ttft_ms, 0)),
        'tokens_prompt', toString(tokens_prompt), 'tokens_completion', toString(tokens_completion),
        'tokens_cache_read', toString(tokens_cache_read), 'tokens_cache_write', toString(tokens_cache_write),
        'tokens_reasoning', toString(tokens_reasoning), 'cost_usd', toString(cost_usd),
        'cost_source', toString(cost_source), 'span_kind', toString(span_kind)
    ) AS value_of,
    arrayFilter(pair -> startsWith(pair.1, 'span:'), stands) AS of_span,
    arrayFilter(pair -> startsWith(pair.1, 'resource:'), stands) AS of_resource
SELECT
    ts AS Timestamp,
    trace_id AS TraceId,
    span_id AS SpanId,
    parent_span_id AS ParentSpanId,
    trace_state AS TraceState,
    name AS SpanName,
    initcap(span_kind) AS SpanKind,
    service AS ServiceName,
    CAST(
        mapConcat(
            mapFromArrays(
                arrayMap(pair -> substring(pair.1, 10), of_resource), arrayMap(pair -> value_of[pair.2], of_resource)
            ),
            resource
        ),
        'Map(LowCardinality(String), String)'
    ) AS ResourceAttributes,
    CAST(scope, 'String') AS ScopeName,
    CAST(scope_version, 'String') AS ScopeVersion,
    CAST(
        mapConcat(
            mapFromArrays(
                arrayMap(pair -> substring(pair.1, 6), of_span), arrayMap(pair -> value_of[pair.2], of_span)
            ),
            attrs
        ),
        'Map(LowCardinality(String), String)'
    ) AS SpanAttributes,
    toUInt64(round(latency_ms * 1e6)) AS Duration,
    initcap(status) AS StatusCode,
    status_message AS StatusMessage,
    events.ts AS `Events.Timestamp`,
    events.name AS `Events.Name`,
    events.attrs AS `Events.Attributes`,
    links.trace_id AS `Links.TraceId`,
    links.span_id AS `Links.SpanId`,
    links.trace_state AS `Links.TraceState`,
    links.attrs AS `Links.Attributes`
FROM agent_events;
