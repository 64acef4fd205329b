-- Requests: a span is an entry where nobody of the same service called it, that is where it has no parent or one in
-- another process (span kinds server and consumer, OTLP's flag of a remote parent). Errors, latency and objectives of a
-- service are those of its entries. And distinct sessions, beside users.
-- Rollups of earlier rows have no entries and no sessions.
ALTER TABLE agent_events ADD COLUMN IF NOT EXISTS
    entry UInt8 ALIAS parent_span_id = '' OR span_kind IN ('server', 'consumer') OR bitAnd(flags, 768) = 768;

ALTER TABLE agent_metrics_1m_state
    ADD COLUMN IF NOT EXISTS entry UInt8,
    ADD COLUMN IF NOT EXISTS sessions AggregateFunction(uniq, Nullable(String)),
    MODIFY ORDER BY
    (
        minute,
        tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
        prompt_name, prompt_version, experiment, variant, entry
    );

ALTER TABLE agent_metrics_1h_state
    ADD COLUMN IF NOT EXISTS entry UInt8,
    ADD COLUMN IF NOT EXISTS sessions AggregateFunction(uniq, Nullable(String)),
    MODIFY ORDER BY
    (
        hour,
        tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
        prompt_name, prompt_version, experiment, variant, entry
    );

-- If this file was cut off at its renaming.
RENAME TABLE IF EXISTS agent_metrics_1h_mv_renamed TO agent_metrics_1h_mv;
RENAME TABLE IF EXISTS agent_metrics_1m_mv_renamed TO agent_metrics_1m_mv;

ALTER TABLE agent_metrics_1h_mv MODIFY QUERY
SELECT
    toStartOfHour(s.minute) AS hour,
    tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry,
    sum(s.calls) AS calls,
    sum(s.errors) AS errors,
    sum(s.unpriced) AS unpriced,
    quantilesTDigestMergeState(0.5, 0.95, 0.99)(s.latency) AS latency,
    quantilesTDigestMergeState(0.5, 0.95, 0.99)(s.ttft) AS ttft,
    sum(s.tokens_prompt) AS tokens_prompt,
    sum(s.tokens_completion) AS tokens_completion,
    sum(s.tokens_cache_read) AS tokens_cache_read,
    sum(s.tokens_cache_write) AS tokens_cache_write,
    sum(s.tokens_reasoning) AS tokens_reasoning,
    sum(s.cost_usd) AS cost_usd,
    uniqMergeState(s.users) AS users,
    uniqMergeState(s.sessions) AS sessions
FROM agent_metrics_1m_state AS s
GROUP BY
    hour,
    tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry;

ALTER TABLE agent_metrics_1m_mv MODIFY QUERY
SELECT
    toStartOfMinute(ts) AS minute,
    tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry,
    count() AS calls,
    countIf(status = 'error') AS errors,
    countIf(cost_source = 'unpriced') AS unpriced,
    quantilesTDigestState(0.5, 0.95, 0.99)(e.latency_ms) AS latency,
    quantilesTDigestState(0.5, 0.95, 0.99)(e.ttft_ms) AS ttft,
    sum(e.tokens_prompt) AS tokens_prompt,
    sum(e.tokens_completion) AS tokens_completion,
    sum(e.tokens_cache_read) AS tokens_cache_read,
    sum(e.tokens_cache_write) AS tokens_cache_write,
    sum(e.tokens_reasoning) AS tokens_reasoning,
    sum(e.cost_usd) AS cost_usd,
    uniqState(nullIf(user_id_hash, '')) AS users,
    uniqState(nullIf(session_id, '')) AS sessions
FROM agent_events AS e
GROUP BY
    minute,
    tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry;

-- From MODIFY QUERY until the server's next start deduplication tokens call a view otherwise than after it (seen with
-- ClickHouse 26.9): an insert that is repeated across that start would count twice in the rollups. Renamed to and fro, a
-- view is called at once what it will be called then.
RENAME TABLE IF EXISTS agent_metrics_1h_mv TO agent_metrics_1h_mv_renamed;
RENAME TABLE IF EXISTS agent_metrics_1h_mv_renamed TO agent_metrics_1h_mv;
RENAME TABLE IF EXISTS agent_metrics_1m_mv TO agent_metrics_1m_mv_renamed;
RENAME TABLE IF EXISTS agent_metrics_1m_mv_renamed TO agent_metrics_1m_mv;

CREATE OR REPLACE VIEW agent_metrics_1m AS
SELECT
    minute,
    tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry,
    sum(s.calls) AS calls,
    sum(s.errors) AS errors,
    errors / calls AS error_rate,
    sum(s.unpriced) AS unpriced,
    quantilesTDigestMerge(0.5, 0.95, 0.99)(s.latency)[1] AS p50,
    quantilesTDigestMerge(0.5, 0.95, 0.99)(s.latency)[2] AS p95,
    quantilesTDigestMerge(0.5, 0.95, 0.99)(s.latency)[3] AS p99,
    quantilesTDigestMerge(0.5, 0.95, 0.99)(s.ttft)[2] AS ttft_p95,
    sum(s.tokens_prompt) AS tokens_prompt,
    sum(s.tokens_completion) AS tokens_completion,
    sum(s.tokens_cache_read) AS tokens_cache_read,
    sum(s.tokens_cache_write) AS tokens_cache_write,
    sum(s.tokens_reasoning) AS tokens_reasoning,
    tokens_prompt + tokens_completion AS tokens_total,
    sum(s.cost_usd) AS cost_usd,
    uniqMerge(s.users) AS users,
    uniqMerge(s.sessions) AS sessions
FROM agent_metrics_1m_state AS s
GROUP BY
    minute,
    tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry;

CREATE OR REPLACE VIEW agent_metrics_1h AS
SELECT
    hour,
    tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry,
    sum(s.calls) AS calls,
    sum(s.errors) AS errors,
    errors / calls AS error_rate,
    sum(s.unpriced) AS unpriced,
    quantilesTDigestMerge(0.5, 0.95, 0.99)(s.latency)[1] AS p50,
    quantilesTDigestMerge(0.5, 0.95, 0.99)(s.latency)[2] AS p95,
    quantilesTDigestMerge(0.5, 0.95, 0.99)(s.latency)[3] AS p99,
    quantilesTDigestMerge(0.5, 0.95, 0.99)(s.ttft)[2] AS ttft_p95,
    sum(s.tokens_prompt) AS tokens_prompt,
    sum(s.tokens_completion) AS tokens_completion,
    sum(s.tokens_cache_read) AS tokens_cache_read,
    sum(s.tokens_cache_write) AS tokens_cache_write,
    sum(s.tokens_reasoning) AS tokens_reasoning,
    tokens_prompt + tokens_completion AS tokens_total,
    sum(s.cost_usd) AS cost_usd,
    uniqMerge(s.users) AS users,
    uniqMerge(s.sessions) AS sessions
FROM agent_metrics_1h_state AS s
GROUP BY
    hour,
    tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry;
