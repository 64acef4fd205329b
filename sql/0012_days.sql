-- Days, so that long ranges are fast: a day has hardly more rows than one of its hours. And histograms of latencies
-- instead of t-digests, in minutes and hours as well: they merge several times as fast, take a third of the room, and
-- are exact but for the width of their buckets. Bucket b of a histogram counts times over 2^(b/32) ms up to 2^((b+1)/32)
-- (OpenTelemetry's exponential histogram of scale 5), so the middle of the bucket is within 1.1 % of them. A percentile:
--   exp2((quantileExactWeightedArray(0.95)(CAST(mapKeys(latency_histogram), 'Array(Float32)'),
--       mapValues(latency_histogram)) + 0.5) / 32)
-- Rollups of earlier rows have none; theirs are in the columns latency and ttft, which nothing writes any more.
ALTER TABLE agent_metrics_1m_state
    ADD COLUMN IF NOT EXISTS latency_histogram SimpleAggregateFunction(sumMap, Map(Int16, UInt64)) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS ttft_histogram SimpleAggregateFunction(sumMap, Map(Int16, UInt64)) CODEC(ZSTD(1));

ALTER TABLE agent_metrics_1h_state
    ADD COLUMN IF NOT EXISTS latency_histogram SimpleAggregateFunction(sumMap, Map(Int16, UInt64)),
    ADD COLUMN IF NOT EXISTS ttft_histogram SimpleAggregateFunction(sumMap, Map(Int16, UInt64));

-- Ordered for those who ask for latencies: of entries, or of one kind. Histograms have the engine's own codec, LZ4: what is
-- read of them is most of the time that a percentile takes. Who came is counted apart from all dimensions, and from all but
-- the tenant, for a user is in many rows of a day; the engine asks a projection where no other dimension is filtered by. A
-- day has some thousands of rows, so granules are small: one tenant's are in few of them.
CREATE TABLE IF NOT EXISTS agent_metrics_1d_state
(
    day Date,
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
    entry UInt8,
    calls SimpleAggregateFunction(sum, UInt64),
    errors SimpleAggregateFunction(sum, UInt64),
    unpriced SimpleAggregateFunction(sum, UInt64),
    latency_histogram SimpleAggregateFunction(sumMap, Map(Int16, UInt64)),
    ttft_histogram SimpleAggregateFunction(sumMap, Map(Int16, UInt64)),
    tokens_prompt SimpleAggregateFunction(sum, UInt64),
    tokens_completion SimpleAggregateFunction(sum, UInt64),
    tokens_cache_read SimpleAggregateFunction(sum, UInt64),
    tokens_cache_write SimpleAggregateFunction(sum, UInt64),
    tokens_reasoning SimpleAggregateFunction(sum, UInt64),
    cost_usd SimpleAggregateFunction(sum, Decimal(38, 10)),
    users AggregateFunction(uniq, Nullable(String)),
    sessions AggregateFunction(uniq, Nullable(String)),
    PROJECTION people
    (
        SELECT day, tenant_id, uniqMergeState(users), uniqMergeState(sessions) GROUP BY day, tenant_id
    ),
    PROJECTION everybody
    (
        SELECT day, uniqMergeState(users), uniqMergeState(sessions) GROUP BY day
    )
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY
(
    entry, kind, day,
    tenant_id, env, service, agent, workflow, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant
)
TTL day + INTERVAL 5 YEAR
SETTINGS ttl_only_drop_parts = 1, index_granularity = 128, deduplicate_merge_projection_mode = 'rebuild';

ALTER TABLE agent_metrics_1d_state MODIFY SETTING non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS agent_metrics_1d_mv TO agent_metrics_1d_state AS
SELECT
    toDate(s.hour) AS day,
    tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry,
    sum(s.calls) AS calls,
    sum(s.errors) AS errors,
    sum(s.unpriced) AS unpriced,
    sumMap(s.latency_histogram) AS latency_histogram,
    sumMap(s.ttft_histogram) AS ttft_histogram,
    sum(s.tokens_prompt) AS tokens_prompt,
    sum(s.tokens_completion) AS tokens_completion,
    sum(s.tokens_cache_read) AS tokens_cache_read,
    sum(s.tokens_cache_write) AS tokens_cache_write,
    sum(s.tokens_reasoning) AS tokens_reasoning,
    sum(s.cost_usd) AS cost_usd,
    uniqMergeState(s.users) AS users,
    uniqMergeState(s.sessions) AS sessions
FROM agent_metrics_1h_state AS s
GROUP BY
    day,
    tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry;

-- As in 0004_entries.sql.
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
    sumMap(s.latency_histogram) AS latency_histogram,
    sumMap(s.ttft_histogram) AS ttft_histogram,
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
    sumMap(map(toInt16(ceil(log2(greatest(e.latency_ms, 0.000001)) * 32) - 1), toUInt64(1))) AS latency_histogram,
    sumMapIf(
        map(toInt16(ceil(log2(greatest(ifNull(e.ttft_ms, 0), 0.000001)) * 32) - 1), toUInt64(1)),
        isNotNull(e.ttft_ms)
    ) AS ttft_histogram,
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
    exp2(
        (quantilesExactWeightedArray(0.5, 0.95, 0.99)(
            CAST(mapKeys(s.latency_histogram), 'Array(Float32)'), mapValues(s.latency_histogram)
        )[1] + 0.5) / 32
    ) AS p50,
    exp2(
        (quantilesExactWeightedArray(0.5, 0.95, 0.99)(
            CAST(mapKeys(s.latency_histogram), 'Array(Float32)'), mapValues(s.latency_histogram)
        )[2] + 0.5) / 32
    ) AS p95,
    exp2(
        (quantilesExactWeightedArray(0.5, 0.95, 0.99)(
            CAST(mapKeys(s.latency_histogram), 'Array(Float32)'), mapValues(s.latency_histogram)
        )[3] + 0.5) / 32
    ) AS p99,
    exp2(
        (quantilesExactWeightedArray(0.5, 0.95, 0.99)(
            CAST(mapKeys(s.ttft_histogram), 'Array(Float32)'), mapValues(s.ttft_histogram)
        )[2] + 0.5) / 32
    ) AS ttft_p95,
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
    exp2(
        (quantilesExactWeightedArray(0.5, 0.95, 0.99)(
            CAST(mapKeys(s.latency_histogram), 'Array(Float32)'), mapValues(s.latency_histogram)
        )[1] + 0.5) / 32
    ) AS p50,
    exp2(
        (quantilesExactWeightedArray(0.5, 0.95, 0.99)(
            CAST(mapKeys(s.latency_histogram), 'Array(Float32)'), mapValues(s.latency_histogram)
        )[2] + 0.5) / 32
    ) AS p95,
    exp2(
        (quantilesExactWeightedArray(0.5, 0.95, 0.99)(
            CAST(mapKeys(s.latency_histogram), 'Array(Float32)'), mapValues(s.latency_histogram)
        )[3] + 0.5) / 32
    ) AS p99,
    exp2(
        (quantilesExactWeightedArray(0.5, 0.95, 0.99)(
            CAST(mapKeys(s.ttft_histogram), 'Array(Float32)'), mapValues(s.ttft_histogram)
        )[2] + 0.5) / 32
    ) AS ttft_p95,
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

CREATE VIEW IF NOT EXISTS agent_metrics_1d AS
SELECT
    day,
    tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry,
    sum(s.calls) AS calls,
    sum(s.errors) AS errors,
    errors / calls AS error_rate,
    sum(s.unpriced) AS unpriced,
    exp2(
        (quantilesExactWeightedArray(0.5, 0.95, 0.99)(
            CAST(mapKeys(s.latency_histogram), 'Array(Float32)'), mapValues(s.latency_histogram)
        )[1] + 0.5) / 32
    ) AS p50,
    exp2(
        (quantilesExactWeightedArray(0.5, 0.95, 0.99)(
            CAST(mapKeys(s.latency_histogram), 'Array(Float32)'), mapValues(s.latency_histogram)
        )[2] + 0.5) / 32
    ) AS p95,
    exp2(
        (quantilesExactWeightedArray(0.5, 0.95, 0.99)(
            CAST(mapKeys(s.latency_histogram), 'Array(Float32)'), mapValues(s.latency_histogram)
        )[3] + 0.5) / 32
    ) AS p99,
    exp2(
        (quantilesExactWeightedArray(0.5, 0.95, 0.99)(
            CAST(mapKeys(s.ttft_histogram), 'Array(Float32)'), mapValues(s.ttft_histogram)
        )[2] + 0.5) / 32
    ) AS ttft_p95,
    sum(s.tokens_prompt) AS tokens_prompt,
    sum(s.tokens_completion) AS tokens_completion,
    sum(s.tokens_cache_read) AS tokens_cache_read,
    sum(s.tokens_cache_write) AS tokens_cache_write,
    sum(s.tokens_reasoning) AS tokens_reasoning,
    tokens_prompt + tokens_completion AS tokens_total,
    sum(s.cost_usd) AS cost_usd,
    uniqMerge(s.users) AS users,
    uniqMerge(s.sessions) AS sessions
FROM agent_metrics_1d_state AS s
GROUP BY
    day,
    tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry;
