-- The most expensive sessions.
SELECT session_id AS session, * EXCEPT (session_id)
FROM ${table:session_sums}
ORDER BY usd DESC, tasks DESC, session
LIMIT 50;
