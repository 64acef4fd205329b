-- Spans in the columns of the OpenTelemetry Collector's own table in ClickHouse (clickhouseexporter), so that what
-- knows that table works here: the OpenTelemetry mode of Grafana's ClickHouse data source and its dashboards.
-- Attributes that stand in a column of `agent_events` are back among the attributes.
CREATE VIEW IF NOT EXISTS otel_traces AS
WITH
    JSONExtractKeysAndValues(promoted, 'String') AS stands,
    map(
        'kind', toString(kind), 'service', toString(service), 'service_version', toString(service_version),
        'env', toString(env), 'tenant_id', toString(tenant_id), 'agent', toString(agent),
        'workflow', toString(workflow), 'session_id', session_id, 'user_id_hash', user_id_hash,
        'provider', toString(provider), 'model', toString(model), 'operation', toString(operation),
        'route', toString(route), 'tool_name', toString(tool_name), 'prompt_name', toString(prompt_name),
        'prompt_version', toString(prompt_version), 'experiment', toString(experiment), 'variant', toString(variant),
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

-- When a trace was: the data source looks here first, to read less of the other.
CREATE VIEW IF NOT EXISTS otel_traces_trace_id_ts AS
SELECT
    trace_id AS TraceId,
    toDateTime(min(ts)) AS Start,
    toDateTime(max(ts)) AS End
FROM agent_events
GROUP BY trace_id;
