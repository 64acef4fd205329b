-- The cost per minute of the last 10 whole minutes, as a multiple of the baseline: the average of the time range before
-- them, or since its first span. A baseline of less than a dollar an hour counts as one dollar an hour, so that pennies
-- raise no alert. 0 while there is less than a day to compare with.
SELECT if(b.minutes < 1440, 0, n.usd_per_minute / greatest(b.usd_per_minute, 1 / 60)) AS times_baseline
FROM
(
    SELECT toFloat64(sum(cost_usd)) / 10 AS usd_per_minute
    FROM agent_metrics_1m_state
    WHERE minute >= toStartOfMinute($__toTime) - 600 AND minute < toStartOfMinute($__toTime)
) AS n
CROSS JOIN
(
    WITH toStartOfHour(toTimeZone($__toTime - 600, 'UTC')) AS end
    SELECT
        if(count() = 0, 0, dateDiff('minute', min(hour), end)) AS minutes,
        toFloat64(sum(cost_usd)) / greatest(minutes, 1) AS usd_per_minute
    FROM agent_metrics_1h_state
    WHERE hour >= toStartOfHour(toTimeZone($__fromTime, 'UTC')) AND hour < end
) AS b;
