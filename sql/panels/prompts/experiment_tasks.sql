-- Tasks of experiments. A task is what one trace holds of an experiment; it failed if a request, a workflow or an
-- agent in it did. Its time is from its first start to its last end.
SELECT
    experiment, toString(variant) AS variant,
    max(status = 'error' AND (entry OR kind IN ('workflow', 'agent'))) AS failed,
    (max(toUnixTimestamp64Nano(ts) + toInt64(latency_ms * 1000000)) - min(toUnixTimestamp64Nano(ts))) / 1000000 AS ms,
    toFloat64(sum(cost_usd)) AS usd,
    avgIf(toFloat64OrNull(attrs['gen_ai.evaluation.score.value']), kind = 'evaluation') AS score
FROM agent_events
WHERE $__timeFilter(ts) AND ${filters} AND experiment != ''
GROUP BY experiment, variant, cityHash64(trace_id);
