SELECT if(isFinite(now), now, NULL) AS p95, if(isFinite(earlier), earlier, NULL) AS week_before
FROM
(
    SELECT
        ${percentiles:latency if NOT before}[2] AS now,
        ${percentiles:latency if before}[2] AS earlier
    FROM ${both_weeks}
    WHERE entry
);
