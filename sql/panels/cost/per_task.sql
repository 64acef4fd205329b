SELECT
    (SELECT toFloat64(sum(cost_usd)) FROM ${rollup}) AS total,
    (SELECT count() FROM ${table:tasks}) AS tasks,
    total / nullIf(tasks, 0) AS cost;
