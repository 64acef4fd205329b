-- Which of these hours (unix seconds of their starts) do not have the same calls, times, tokens and costs by rows, by
-- minutes and by hours, or are of a day that does not have them by hours and by days.
WITH
    CAST({hours:Array(UInt32)}, 'Array(UInt32)') AS asked,
    arrayDistinct(arrayMap(hour -> toDate(hour, 'UTC'), asked)) AS days
SELECT toUnixTimestamp(hour) AS hour
FROM
(
    SELECT
        toStartOfHour(ts) AS hour, count() AS calls, count() AS timed,
        sum(tokens_prompt + tokens_completion) AS tokens, sum(cost_usd) AS cost
    FROM agent_events
    WHERE toUnixTimestamp(toStartOfHour(ts)) IN {hours:Array(UInt32)}
    GROUP BY hour
    UNION ALL
    SELECT
        toStartOfHour(minute) AS hour, sum(calls), sum(arraySum(mapValues(latency_histogram))),
        sum(tokens_prompt) + sum(tokens_completion), sum(cost_usd)
    FROM agent_metrics_1m_state
    WHERE toUnixTimestamp(toStartOfHour(minute)) IN {hours:Array(UInt32)}
    GROUP BY hour
    UNION ALL
    SELECT
        hour, sum(calls), sum(arraySum(mapValues(latency_histogram))),
        sum(tokens_prompt) + sum(tokens_completion), sum(cost_usd)
    FROM agent_metrics_1h_state
    WHERE toUnixTimestamp(hour) IN {hours:Array(UInt32)}
    GROUP BY hour
)
WHERE calls != 0
GROUP BY hour
HAVING count() != 3 OR uniqExact(calls, timed, tokens, cost) != 1
UNION DISTINCT
SELECT arrayJoin(arrayFilter(hour -> toDate(hour, 'UTC') = day, asked)) AS hour
FROM
(
    SELECT
        toDate(hour) AS day, sum(calls) AS calls, sum(arraySum(mapValues(latency_histogram))) AS timed,
        sum(tokens_prompt) + sum(tokens_completion) AS tokens, sum(cost_usd) AS cost
    FROM agent_metrics_1h_state
    WHERE toDate(hour) IN days
    GROUP BY day
    UNION ALL
    SELECT
        day, sum(calls), sum(arraySum(mapValues(latency_histogram))),
        sum(tokens_prompt) + sum(tokens_completion), sum(cost_usd)
    FROM agent_metrics_1d_state
    WHERE day IN days
    GROUP BY day
)
WHERE calls != 0
GROUP BY day
HAVING count() != 2 OR uniqExact(calls, timed, tokens, cost) != 1;
