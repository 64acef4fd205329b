"""The page of `spanhouse up`: dashboards, traces and a SQL box in a browser."""
