-- Hours of the range; those that differ first.
SELECT
    hour, of_rows AS rows, of_minutes AS minutes, of_hours AS hours,
    if(of_rows = of_minutes AND of_rows = of_hours, 'agree', 'differ') AS state
FROM ${table:counted}
ORDER BY state DESC, hour DESC
LIMIT 48;
