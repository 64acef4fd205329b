-- Spans that meet all that is asked for. What is asked about the whole trace is asked of its spans.
SELECT ts, trace_id, latency_ms
FROM agent_events
WHERE
    -- A trace or session that is named is found whenever it was.
    ($__timeFilter(ts) OR ${trace_id:singlequote} != '' OR ${session_id:singlequote} != '')
    AND $__conditionalAll(trace_id = lower(trimBoth(${trace_id:singlequote})), $trace_id)
    AND $__conditionalAll(session_id = trimBoth(${session_id:singlequote}), $session_id)
    AND ${filters}
    AND latency_ms >= toFloat64OrZero(${min_ms:singlequote})
    AND (${status:singlequote} != 'an error' OR status = 'error')
    AND (
        ${status:singlequote} != 'failed' OR cityHash64(trace_id) IN
        (
            SELECT cityHash64(trace_id) FROM agent_events
            WHERE $__timeFilter(ts) AND parent_span_id = '' AND status = 'error'
        )
    )
    AND (
        ${status:singlequote} != 'no error' OR cityHash64(trace_id) NOT IN
        (SELECT cityHash64(trace_id) FROM agent_events WHERE $__timeFilter(ts) AND status = 'error')
    )
    AND $__conditionalAll(
        multiSearchAnyCaseInsensitiveUTF8(
            concatWithSeparator('\n', name, kind, operation, service_version, workflow, tool_name, prompt_name,
                prompt_version, experiment, variant, user_id_hash, error_type, error_message, status_message,
                scope, session_id, trace_id, span_id),
            [${search:singlequote}]
        )
        OR arrayExists((k, v) -> positionCaseInsensitiveUTF8(concat(k, '=', v), ${search:singlequote}) > 0,
            mapKeys(attrs), mapValues(attrs))
        OR arrayExists((k, v) -> positionCaseInsensitiveUTF8(concat(k, '=', v), ${search:singlequote}) > 0,
            mapKeys(resource), mapValues(resource)), $search);
