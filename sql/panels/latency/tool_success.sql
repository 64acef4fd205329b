SELECT 1 - sum(errors) / nullIf(sum(calls), 0) AS success
FROM ${rollup}
WHERE kind IN ('tool', 'mcp');
