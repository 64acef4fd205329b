-- The spans of a trace for the page, the first ones.
SELECT
    toUnixTimestamp64Nano(ts) AS start_ns,
    span_id, parent_span_id, name,
    kind, service, service_version, env, tenant_id, agent, workflow, session_id, user_id_hash, provider, model,
    operation, route, tool_name, prompt_name, prompt_version, experiment, variant, status, error_type, error_message,
    latency_ms, ttft_ms, tokens_prompt, tokens_completion, tokens_cache_read, tokens_cache_write, tokens_reasoning,
    toFloat64(cost_usd) AS cost_usd, cost_source, span_kind,
    attrs, resource, promoted,
    arrayMap(t -> toUnixTimestamp64Nano(t), events.ts) AS event_ns, events.name AS event_names,
    events.attrs AS event_attrs
FROM agent_events
WHERE trace_id = {trace_id:String}
ORDER BY ts
LIMIT {limit:UInt64};
