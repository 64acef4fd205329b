SELECT
    ${label:tenant_id} AS tenant,
    m.spent AS spent,
    m.forecast AS forecast,
    m.forecast / nullIf(toFloat64OrZero(${budget:singlequote}), 0) AS share
FROM ${table:months} AS m
WHERE m.spent > 0 OR m.forecast > 0
ORDER BY forecast DESC, tenant
LIMIT 100;
