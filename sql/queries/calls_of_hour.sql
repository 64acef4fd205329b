-- The same for the hour itself, whose rollup is made from the minutes'.
SELECT
    {hour:UInt32} AS period,
    concat(toString(sumIf(calls, by_minutes)), ' calls, ', toString(sumIf(tokens, by_minutes)), ' tokens, ',
        toString(sumIf(cost, by_minutes)), ' USD') AS rows,
    concat(toString(sumIf(calls, NOT by_minutes)), ' calls, ', toString(sumIf(tokens, NOT by_minutes)),
        ' tokens, ', toString(sumIf(cost, NOT by_minutes)), ' USD') AS counted,
    (
        SELECT dateDiff('second', max(ingested_at), now64(3))
        FROM agent_events
        WHERE toUnixTimestamp(toStartOfHour(ts)) = {hour:UInt32}
    ) AS quiet_seconds
FROM
(
    SELECT
        true AS by_minutes, calls, tokens_prompt + tokens_completion AS tokens, cost_usd AS cost
    FROM agent_metrics_1m_state
    WHERE toUnixTimestamp(toStartOfHour(minute)) = {hour:UInt32}
    UNION ALL
    SELECT false, calls, tokens_prompt + tokens_completion, cost_usd
    FROM agent_metrics_1h_state
    WHERE toUnixTimestamp(hour) = {hour:UInt32}
)
HAVING rows != counted;
