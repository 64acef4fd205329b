SELECT if(isFinite(p[1]), p[1], NULL) AS p50, if(isFinite(p[2]), p[2], NULL) AS p95
FROM (SELECT ${percentiles:ttft} AS p FROM ${rollup});
