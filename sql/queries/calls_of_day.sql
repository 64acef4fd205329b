-- The same for a day (unix seconds of its start, UTC), whose rollup is made from the hours'. Of a day without rows, which
-- have expired, nothing is under way.
SELECT
    {day:UInt32} AS period,
    concat(toString(sumIf(calls, by_parts)), ' calls, ', toString(sumIf(timed, by_parts)), ' times, ',
        toString(sumIf(tokens, by_parts)), ' tokens, ', toString(sumIf(cost, by_parts)), ' USD') AS rows,
    concat(toString(sumIf(calls, NOT by_parts)), ' calls, ', toString(sumIf(timed, NOT by_parts)), ' times, ',
        toString(sumIf(tokens, NOT by_parts)), ' tokens, ', toString(sumIf(cost, NOT by_parts)), ' USD') AS counted,
    (
        SELECT dateDiff('second', max(ingested_at), now64(3))
        FROM agent_events
        WHERE toUnixTimestamp(toStartOfDay(ts)) = {day:UInt32}
    ) AS quiet_seconds
FROM
(
    SELECT
        true AS by_parts, calls, arraySum(mapValues(latency_histogram)) AS timed,
        tokens_prompt + tokens_completion AS tokens, cost_usd AS cost
    FROM agent_metrics_1h_state
    WHERE toUnixTimestamp(toStartOfDay(hour)) = {day:UInt32}
    UNION ALL
    SELECT
        false, calls, arraySum(mapValues(latency_histogram)), tokens_prompt + tokens_completion, cost_usd
    FROM agent_metrics_1d_state
    WHERE toUnixTimestamp(toDateTime(day, 'UTC')) = {day:UInt32}
)
HAVING rows != counted;
