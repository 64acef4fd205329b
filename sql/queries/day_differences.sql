-- Days (unix seconds of their starts, UTC) whose rollup does not count what the hours' rollup does.
SELECT toUnixTimestamp(toDateTime(day, 'UTC')) AS day
FROM
(
    SELECT
        toDate(hour) AS day, sum(calls) AS calls, sum(arraySum(mapValues(latency_histogram))) AS timed,
        sum(cost_usd) AS cost
    FROM agent_metrics_1h_state
    GROUP BY day
    UNION ALL
    SELECT day, sum(calls), sum(arraySum(mapValues(latency_histogram))), sum(cost_usd)
    FROM agent_metrics_1d_state
    WHERE day >= (SELECT min(toDate(hour)) FROM agent_metrics_1h_state)
    GROUP BY day
)
GROUP BY day
HAVING count() != 2 OR uniqExact(calls, timed, cost) != 1
ORDER BY day;
