-- Events {first} to {first} + {count} of {total}, made of traces of the demo (`bench.spans`, one row per span): each
-- cycle through them is one copy with ids, people, times and numbers of its own. All is a function of an event's
-- number and the seed.
INSERT INTO agent_events
(
    ts, trace_id, span_id, parent_span_id, name, kind, service, service_version, env, tenant_id, agent, workflow,
    session_id, user_id_hash, provider, model, operation, route, tool_name, prompt_name, prompt_version, experiment,
    variant, status, error_type, error_message, latency_ms, ttft_ms, tokens_prompt, tokens_completion,
    tokens_cache_read, tokens_cache_write, tokens_reasoning, cost_usd, cost_source, cost_computed_usd, span_kind,
    status_message, trace_state, flags, scope, scope_version, resource, events.ts, events.name, events.attrs,
    events.attr_types, events.dropped, attrs, attr_types, promoted, topic, partition, offset, ingested_at
)
WITH
    {seed:UInt64} AS seed,
    (SELECT count() FROM bench.spans) AS spans,
    (SELECT max(trace) + 1 FROM bench.spans) AS traces,
    intDiv(number, spans) AS cycle,
    -- The trace among all, and the conversation that it and up to four more of the next cycles belong to.
    cycle * traces + s.trace AS of_all,
    cityHash64(seed, 'session', s.trace, intDiv(cycle, 1 + s.trace % 5)) AS session,
    -- Few people and tenants ask much, many ask little.
    toUInt64(100000 * pow((session % 1000003) / 1000003, 2)) AS person,
    toUInt64(50 * pow((cityHash64(seed, 'tenant', person) % 1000003) / 1000003, 2)) AS tenant,
    -- Five editions of the product, with agents, tools and prompts of their own; a tenant has one of them.
    tenant % 5 AS edition,
    if(edition = 0, '', concat('-', ['eu', 'us', 'b2b', 'labs'][edition])) AS suffix,
    cityHash64(seed, 'span', number) AS chance,
    cityHash64(seed, 'trace', of_all) AS luck,
    -- From a third of the template's time to three times it.
    exp((luck % 1000003 / 1000003 - 0.5) * 2.2) AS slow,
    -- Tokens beyond the template's, and what they cost.
    if(s.tokens_prompt > 0, chance % 400, 0) AS asked,
    if(s.tokens_completion > 0, intDiv(chance, 1024) % 200, 0) AS answered,
    if(s.cost_source = 'computed', toDecimal64(asked * 0.0000005 + answered * 0.000002, 10), 0) AS dearer,
    {start:Int64} + toInt64((of_all + luck % 1009 / 1009) * (30 * 86400e9 / ({total:UInt64} / spans * traces))) AS began,
    fromUnixTimestamp64Nano(began + toInt64(s.after_ns * slow), 'UTC') AS at,
    round(s.latency_ms * slow, 6) AS took,
    -- A process exports every five seconds what has ended.
    intDiv(toUnixTimestamp64Milli(at) + toInt64(took), 5000) AS flushed,
    lower(hex(reinterpretAsFixedString(chance))) AS own
SELECT
    at,
    lower(hex(sipHash128(seed, of_all))),
    own,
    if(s.parent < 0, '',
        lower(hex(reinterpretAsFixedString(cityHash64(seed, 'span', toUInt64(number - s.position + s.parent)))))),
    if(s.agent != '' OR s.tool_name != '', concat(s.name, suffix), s.name),
    s.kind, s.service, s.service_version, s.env,
    concat('tenant-', leftPad(toString(tenant), 2, '0')),
    if(s.agent = '', '', concat(s.agent, suffix)),
    s.workflow,
    concat('conv_', lower(hex(reinterpretAsFixedString(session)))),
    lower(hex(sipHash128(seed, 'person', person))),
    s.provider, s.model, s.operation, s.route,
    if(s.tool_name = '', '', concat(s.tool_name, suffix)),
    if(s.prompt_name = '', '', concat(s.prompt_name, suffix)),
    -- A new version each week, of which a tenth of the calls make use in the week before.
    if(s.prompt_name = '', '', concat('v', toString(
        1 + intDiv(began - {start:Int64} + if(luck % 10 = 0, 604800000000000, 0), 604800000000000)))),
    s.experiment, s.variant, s.status, s.error_type, s.error_message, took, s.ttft_ms * slow,
    s.tokens_prompt + asked, s.tokens_completion + answered, s.tokens_cache_read, s.tokens_cache_write, s.tokens_reasoning,
    s.cost_usd + dearer, s.cost_source, s.cost_computed_usd + dearer, s.span_kind,
    s.status_message, s.trace_state, s.flags, s.scope, s.scope_version,
    mapUpdate(s.resource, CAST(
        map('service.instance.id', lower(hex(sipHash128(s.service, luck % 8)))), 'Map(String, String)'
    )),
    arrayMap(_ -> at + toIntervalNanosecond(toInt64(took * 1e6)), s.`events.name`), s.`events.name`,
    s.`events.attrs`, s.`events.attr_types`, s.`events.dropped`,
    mapUpdate(s.attrs, CAST(mapFromArrays(s.own_keys, arrayConcat(
        if(s.id_key = '', [], [concat(s.id_prefix, substring(own, 1, s.id_length))]),
        if(s.first_chunk = 0, [], [toString(round(s.first_chunk * slow, 9))])
    )), 'Map(String, String)')),
    s.attr_types, s.promoted,
    'otel-spans', toInt32(luck % 8), toInt64(intDiv(of_all, 8)),
    fromUnixTimestamp64Milli(toInt64(5000 * (flushed + 1) + cityHash64(s.service, luck % 8, flushed) % 2000), 'UTC')
FROM numbers({first:UInt64}, {count:UInt64}) AS n
INNER JOIN bench.spans AS s ON s.position = number % (SELECT count() FROM bench.spans);
