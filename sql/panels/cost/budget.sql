SELECT
    sum(m.spent) / nullIf(toFloat64OrZero(${budget:singlequote}), 0) AS spent,
    sum(m.forecast) / nullIf(toFloat64OrZero(${budget:singlequote}), 0) AS forecast
FROM ${table:months} AS m;
