-- A fresh part of more than 10 MB would be one of many files, two for each of the table's 70 columns, and making and removing
-- them took 40 % of an insert's CPU. Fresh parts are one file; merges make of them what they did before.
ALTER TABLE agent_events MODIFY SETTING min_level_for_wide_part = 1;
