-- Which of these hours (unix seconds of their starts) do not have the same calls, tokens and costs by rows, by
-- minutes and by hours.
SELECT toUnixTimestamp(hour) AS hour
FROM
(
    SELECT
        toStartOfHour(ts) AS hour, count() AS calls, sum(tokens_prompt + tokens_completion) AS tokens,
        sum(cost_usd) AS cost
    FROM agent_events
    WHERE toUnixTimestamp(toStartOfHour(ts)) IN {hours:Array(UInt32)}
    GROUP BY hour
    UNION ALL
    SELECT toStartOfHour(minute) AS hour, sum(calls), sum(tokens_prompt) + sum(tokens_completion), sum(cost_usd)
    FROM agent_metrics_1m_state
    WHERE toUnixTimestamp(toStartOfHour(minute)) IN {hours:Array(UInt32)}
    GROUP BY hour
    UNION ALL
    SELECT hour, sum(calls), sum(tokens_prompt) + sum(tokens_completion), sum(cost_usd)
    FROM agent_metrics_1h_state
    WHERE toUnixTimestamp(hour) IN {hours:Array(UInt32)}
    GROUP BY hour
)
WHERE calls != 0
GROUP BY hour
HAVING count() != 3 OR uniqExact(calls, tokens, cost) != 1
ORDER BY hour;
