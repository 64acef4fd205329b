SELECT sum(m.spent) AS spent, sum(m.forecast) AS forecast FROM ${table:months} AS m;
