SELECT if(isFinite(now), now, NULL) AS p95, if(isFinite(earlier), earlier, NULL) AS week_before
FROM
(
    SELECT
        quantilesTDigestMergeIf(0.5, 0.95, 0.99)(latency, NOT before)[2] AS now,
        quantilesTDigestMergeIf(0.5, 0.95, 0.99)(latency, before)[2] AS earlier
    FROM ${both_weeks}
    WHERE entry
);
