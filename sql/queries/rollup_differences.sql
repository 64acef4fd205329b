-- Hours in which the rollups do not count what agent_events holds. An insert that was cut off by a crash
-- may have reached the table and not its views, and `spanhouse reprice` the rows only; what an older spanhouse counted has
-- no histograms. Days that are about to expire are left alone.
WITH now() - INTERVAL 88 DAY AS oldest
SELECT toUnixTimestamp(hour) AS hour
FROM
(
    SELECT
        toStartOfHour(ts) AS hour, toInt64(count()) AS in_rows, 0 AS in_minutes, 0 AS in_hours, 0 AS in_histograms,
        sum(cost_usd) AS of_rows, toDecimal128(0, 10) AS of_minutes, toDecimal128(0, 10) AS of_hours
    FROM agent_events
    WHERE ts >= oldest
    GROUP BY hour
    UNION ALL
    SELECT toStartOfHour(minute) AS hour, 0, toInt64(sum(calls)), 0, 0, 0, sum(cost_usd), 0
    FROM agent_metrics_1m_state
    WHERE minute >= oldest
    GROUP BY hour
    UNION ALL
    SELECT hour, 0, 0, toInt64(sum(calls)), toInt64(sum(arraySum(mapValues(latency_histogram)))), 0, 0, sum(cost_usd)
    FROM agent_metrics_1h_state
    WHERE hour >= oldest
    GROUP BY hour
)
WHERE hour >= toStartOfHour(oldest) + INTERVAL 1 HOUR
GROUP BY hour
HAVING sum(in_rows) != sum(in_minutes) OR sum(in_rows) != sum(in_hours) OR sum(in_rows) != sum(in_histograms)
    OR sum(of_rows) != sum(of_minutes) OR sum(of_rows) != sum(of_hours)
ORDER BY hour;
