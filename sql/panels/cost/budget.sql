-- The budget is the one that was typed in, or that of all tenants in spanhouse.yaml.
WITH coalesce(
    toFloat64OrNull(${budget:singlequote}),
    (SELECT anyOrNull(usd_per_month) FROM budgets WHERE tenant_id = '')
) AS budget
SELECT
    sum(m.spent) / nullIf(budget, 0) AS spent,
    sum(m.forecast) / nullIf(budget, 0) AS forecast
FROM ${table:months} AS m;
