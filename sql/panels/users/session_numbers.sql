SELECT
    quantileExactOrNull(0.5)(seconds) AS median_seconds,
    quantileExactOrNull(0.95)(seconds) AS p95_seconds,
    avgOrNull(s.tasks) AS tasks_per_session,
    avgOrNull(usd) AS usd_per_session
FROM ${table:session_sums} AS s;
