SELECT sum(errors) / nullIf(sum(calls), 0) AS error_rate
FROM ${rollup}
WHERE kind IN ('llm', 'embedding', 'rerank');
