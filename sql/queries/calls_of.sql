-- The same for an hour or a day (UTC) itself, whose rollup is made of a finer one; see rollups.ROLLUPS. Where there are no
-- rows, as they have expired, nothing is under way.
SELECT
    {began:UInt32} AS period,
    concat(toString(sumIf(calls, by_parts)), ' calls, ', toString(sumIf(timed, by_parts)), ' times, ',
        toString(sumIf(tokens, by_parts)), ' tokens, ', toString(sumIf(cost, by_parts)), ' USD') AS rows,
    concat(toString(sumIf(calls, NOT by_parts)), ' calls, ', toString(sumIf(timed, NOT by_parts)), ' times, ',
        toString(sumIf(tokens, NOT by_parts)), ' tokens, ', toString(sumIf(cost, NOT by_parts)), ' USD') AS counted,
    (
        SELECT dateDiff('second', max(ingested_at), now64(3))
        FROM agent_events
        WHERE toUnixTimestamp(toDateTime({of_row}, 'UTC')) = {began:UInt32}
    ) AS quiet_seconds
FROM
(
    SELECT
        true AS by_parts, calls, arraySum(mapValues(latency_histogram)) AS timed,
        tokens_prompt + tokens_completion AS tokens, cost_usd AS cost
    FROM {finer}
    WHERE toUnixTimestamp(toDateTime({start}, 'UTC')) = {began:UInt32}
    UNION ALL
    SELECT
        false, calls, arraySum(mapValues(latency_histogram)), tokens_prompt + tokens_completion, cost_usd
    FROM {rollup}
    WHERE toUnixTimestamp(toDateTime({period}, 'UTC')) = {began:UInt32}
)
HAVING rows != counted;
