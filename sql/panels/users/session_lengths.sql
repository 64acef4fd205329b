-- Sessions by how many tasks they have.
SELECT if(tasks >= 10, '10 or more', toString(tasks)) AS tasks_in_session, count() AS sessions
FROM ${table:session_sums}
GROUP BY tasks_in_session
ORDER BY min(tasks);
