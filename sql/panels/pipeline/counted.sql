-- Whole hours of the range with what rows and rollups count. The last two minutes may still be on their way.
SELECT hour, sum(in_rows) AS of_rows, sum(in_minutes) AS of_minutes, sum(in_hours) AS of_hours
FROM
(
    SELECT toStartOfHour(ts) AS hour, toInt64(count()) AS in_rows, 0 AS in_minutes, 0 AS in_hours
    FROM agent_events
    WHERE ts >= toStartOfHour($__fromTime) AND ts < toStartOfHour($__toTime - 120) AND ${filters}
    GROUP BY hour
    UNION ALL
    SELECT toStartOfHour(minute) AS hour, 0, toInt64(sum(calls)), 0
    FROM agent_metrics_1m_state
    WHERE minute >= toStartOfHour($__fromTime) AND minute < toStartOfHour($__toTime - 120) AND ${filters}
    GROUP BY hour
    UNION ALL
    SELECT hour, 0, 0, toInt64(sum(calls))
    FROM agent_metrics_1h_state
    WHERE hour >= toStartOfHour($__fromTime) AND hour < toStartOfHour($__toTime - 120) AND ${filters}
    GROUP BY hour
)
GROUP BY hour;
