-- Minute rollup of agent_events, kept by a materialized view as mergeable states, and its hour, kept
-- from the minute. What people query are the views agent_metrics_1m and agent_metrics_1h: one row per
-- minute (hour) and set of dimensions. Percentiles and distinct users do not add up over rows; over
-- several rows merge the states of the tables below:
--   quantilesTDigestMerge(0.5, 0.95, 0.99)(latency), uniqMerge(users).
-- The views leave the states out, for most clients cannot read their types.
CREATE TABLE IF NOT EXISTS agent_metrics_1m_state
(
    minute DateTime('UTC') CODEC(Delta, ZSTD(1)),
    tenant_id LowCardinality(String),
    env LowCardinality(String),
    service LowCardinality(String),
    agent LowCardinality(String),
    workflow LowCardinality(String),
    kind LowCardinality(String),
    operation LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    route LowCardinality(String),
    tool_name LowCardinality(String),
    prompt_name LowCardinality(String),
    prompt_version LowCardinality(String),
    experiment LowCardinality(String),
    variant LowCardinality(String),
    calls SimpleAggregateFunction(sum, UInt64),
    errors SimpleAggregateFunction(sum, UInt64),
    unpriced SimpleAggregateFunction(sum, UInt64),
    latency AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), Float64),
    ttft AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), Nullable(Float64)),
    tokens_prompt SimpleAggregateFunction(sum, UInt64),
    tokens_completion SimpleAggregateFunction(sum, UInt64),
    tokens_cache_read SimpleAggregateFunction(sum, UInt64),
    tokens_cache_write SimpleAggregateFunction(sum, UInt64),
    tokens_reasoning SimpleAggregateFunction(sum, UInt64),
    cost_usd SimpleAggregateFunction(sum, Decimal(38, 10)),
    users AggregateFunction(uniq, Nullable(String))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(minute)
ORDER BY
(
    minute,
    tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant
)
TTL minute + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS agent_metrics_1h_state
(
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    tenant_id LowCardinality(String),
    env LowCardinality(String),
    service LowCardinality(String),
    agent LowCardinality(String),
    workflow LowCardinality(String),
    kind LowCardinality(String),
    operation LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    route LowCardinality(String),
    tool_name LowCardinality(String),
    prompt_name LowCardinality(String),
    prompt_version LowCardinality(String),
    experiment LowCardinality(String),
    variant LowCardinality(String),
    calls SimpleAggregateFunction(sum, UInt64),
    errors SimpleAggregateFunction(sum, UInt64),
    unpriced SimpleAggregateFunction(sum, UInt64),
    latency AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), Float64),
    ttft AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), Nullable(Float64)),
    tokens_prompt SimpleAggregateFunction(sum, UInt64),
    tokens_completion SimpleAggregateFunction(sum, UInt64),
    tokens_cache_read SimpleAggregateFunction(sum, UInt64),
    tokens_cache_write SimpleAggregateFunction(sum, UInt64),
    tokens_reasoning SimpleAggregateFunction(sum, UInt64),
    cost_usd SimpleAggregateFunction(sum, Decimal(38, 10)),
    users AggregateFunction(uniq, Nullable(String))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYear(hour)
ORDER BY
(
    hour,
    tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant
)
TTL hour + INTERVAL 2 YEAR
SETTINGS ttl_only_drop_parts = 1, index_granularity = 512;

CREATE MATERIALIZED VIEW IF NOT EXISTS agent_metrics_1h_mv TO agent_metrics_1h_state AS
SELECT
    toStartOfHour(s.minute) AS hour,
    tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant,
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
    uniqMergeState(s.users) AS users
FROM agent_metrics_1m_state AS s
GROUP BY
    hour,
    tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant;

CREATE MATERIALIZED VIEW IF NOT EXISTS agent_metrics_1m_mv TO agent_metrics_1m_state AS
SELECT
    toStartOfMinute(ts) AS minute,
    tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant,
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
    uniqState(nullIf(user_id_hash, '')) AS users
FROM agent_events AS e
GROUP BY
    minute,
    tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant;

CREATE VIEW IF NOT EXISTS agent_metrics_1m AS
SELECT
    minute,
    tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant,
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
    uniqMerge(s.users) AS users
FROM agent_metrics_1m_state AS s
GROUP BY
    minute,
    tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant;

CREATE VIEW IF NOT EXISTS agent_metrics_1h AS
SELECT
    hour,
    tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant,
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
    uniqMerge(s.users) AS users
FROM agent_metrics_1h_state AS s
GROUP BY
    hour,
    tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant;
