-- Make `lines` (tenant_id, usd_per_month) the budgets; as set_objectives.sql.
INSERT INTO budgets_state (tenant_id, usd_per_month, active)
WITH CAST({lines:Array(Tuple(String, Float64))} AS Array(Tuple(String, Float64))) AS lines
SELECT tenant_id, usd_per_month, active
FROM
(
    SELECT line.1 AS tenant_id, line.2 AS usd_per_month, true AS active
    FROM (SELECT arrayJoin(lines) AS line)
    UNION ALL
    SELECT tenant_id, usd_per_month, false
    FROM budgets
    WHERE NOT has(lines.1, tenant_id)
)
WHERE (tenant_id, usd_per_month, active) NOT IN (SELECT tenant_id, usd_per_month, true FROM budgets);
