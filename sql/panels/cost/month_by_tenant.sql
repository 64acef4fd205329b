-- Of the tenant's own budget, or of the whole one where it has none.
WITH coalesce(
    toFloat64OrNull(${budget:singlequote}),
    (SELECT anyOrNull(usd_per_month) FROM budgets WHERE tenant_id = '')
) AS budget
SELECT
    if(m.tenant_id = '', '(none)', m.tenant_id) AS tenant,
    m.spent AS spent,
    m.forecast AS forecast,
    m.forecast / coalesce(nullIf(own.usd_per_month, 0), nullIf(budget, 0)) AS share
FROM ${table:months} AS m
LEFT JOIN (SELECT tenant_id, usd_per_month FROM budgets WHERE tenant_id != '') AS own ON own.tenant_id = m.tenant_id
WHERE m.spent > 0 OR m.forecast > 0
ORDER BY forecast DESC, tenant
LIMIT 100;
