-- The columns of Grafana's trace view; times are milliseconds. A trace is found whenever it was.
SELECT
    trace_id AS traceID,
    span_id AS spanID,
    parent_span_id AS parentSpanID,
    service AS serviceName,
    name AS operationName,
    toUnixTimestamp64Nano(ts) / 1e6 AS startTime,
    latency_ms AS duration,
    span_kind AS kind,
    transform(toString(status), ['ok', 'error'], [1, 2], 0) AS statusCode,
    if(status_message = '', error_message, status_message) AS statusMessage,
    arrayMap(
        pair -> map('key', pair.1, 'value', pair.2),
        arrayConcat(
            arrayFilter(pair -> pair.2 NOT IN ('', '0'), [
                ('kind', toString(span.kind)), ('agent', toString(agent)), ('model', toString(model)),
                ('provider', toString(provider)), ('tool', toString(tool_name)),
                ('prompt', trimBoth(concat(toString(prompt_name), ' ', toString(prompt_version)))),
                ('tokens in', toString(tokens_prompt)), ('tokens out', toString(tokens_completion)),
                ('cost (USD)', toString(cost_usd)), ('first token (ms)', toString(ifNull(ttft_ms, 0))),
                ('error', toString(error_type))
            ]),
            arrayMap((k, v) -> (toString(k), v), mapKeys(attrs), mapValues(attrs))
        )
    ) AS tags,
    arrayMap((k, v) -> map('key', toString(k), 'value', v), mapKeys(resource), mapValues(resource)) AS serviceTags,
    arrayMap(
        (at, event, pairs) -> CAST(
            (
                toString(event),
                toString(toUnixTimestamp64Milli(at)),
                arrayMap((k, v) -> map('key', toString(k), 'value', v), mapKeys(pairs), mapValues(pairs))
            ),
            'Tuple(name String, timestamp String, fields Array(Map(String, String)))'
        ),
        events.ts, events.name, events.attrs
    ) AS logs
FROM agent_events AS span
WHERE trace_id = lower(trimBoth(${trace_id:singlequote}))
ORDER BY startTime, duration DESC, spanID
LIMIT 5000;
