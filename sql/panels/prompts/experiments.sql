-- Variants of experiments.
SELECT
    experiment,
    ${label:variant} AS variant,
    count() AS tasks,
    countIf(failed) / tasks AS failed_share,
    avg(ms) AS mean_ms,
    quantileExact(0.95)(ms) AS p95_ms,
    avg(usd) AS usd_per_task,
    countIf(isNotNull(score)) AS scored,
    avg(score) AS mean_score
FROM ${table:experiment_tasks}
GROUP BY experiment, variant
ORDER BY experiment, variant
LIMIT 200;
