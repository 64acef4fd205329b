-- Minutes of an hour (unix seconds of its start) whose rollup does not count what agent_events holds, and
-- for how many seconds no rows came into them; an insert that is under way may explain a recent difference.
SELECT
    toUnixTimestamp(minute) AS period,
    concat(toString(sumIf(calls, by_rows)), ' calls, ', toString(sumIf(timed, by_rows)), ' times, ',
        toString(sumIf(tokens, by_rows)), ' tokens, ', toString(sumIf(cost, by_rows)), ' USD') AS rows,
    concat(toString(sumIf(calls, NOT by_rows)), ' calls, ', toString(sumIf(timed, NOT by_rows)), ' times, ',
        toString(sumIf(tokens, NOT by_rows)), ' tokens, ', toString(sumIf(cost, NOT by_rows)), ' USD') AS counted,
    dateDiff('second', max(newest), now64(3)) AS quiet_seconds
FROM
(
    SELECT
        toStartOfMinute(ts) AS minute, true AS by_rows, count() AS calls, count() AS timed,
        sum(tokens_prompt + tokens_completion) AS tokens, sum(cost_usd) AS cost, max(ingested_at) AS newest
    FROM agent_events
    WHERE toUnixTimestamp(toStartOfHour(ts)) = {began:UInt32}
    GROUP BY minute
    UNION ALL
    SELECT
        minute, false, sum(calls), sum(arraySum(mapValues(latency_histogram))),
        sum(tokens_prompt) + sum(tokens_completion), sum(cost_usd), toDateTime64(0, 3, 'UTC')
    FROM agent_metrics_1m_state
    WHERE toUnixTimestamp(toStartOfHour(minute)) = {began:UInt32}
    GROUP BY minute
)
GROUP BY minute
HAVING rows != counted
ORDER BY minute;
