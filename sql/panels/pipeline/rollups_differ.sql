-- Hours of the range whose rollups do not count what the rows hold.
SELECT countIf(of_rows != of_minutes OR of_rows != of_hours) AS hours_that_differ, count() AS hours
FROM ${table:counted};
