-- Whether the run can be trusted: what was rejected and why, what was truncated, and how much the
-- seeds disagree.
--
-- column measure: what is counted
-- column count: number of rows or captions
-- column share: share of the samples read, of the captions scored, or of the reference captions
WITH scored AS (
    SELECT count(*) AS total, count(*) FILTER (truncated) AS truncated,
           count(*) FILTER (seeds > 1) AS with_seeds
    FROM scores
),
read_rows AS (
    SELECT (SELECT count(*) FROM samples)
         + (SELECT count(*) FROM rejects WHERE stage = 'plan' AND "row" IS NOT NULL) AS total
),
unequal AS (
    SELECT COLUMNS(lambda name: list_contains(
        ['caption_id', 'noise_norm_first_seeds', 'entropy_e_seeds'], name
    )), NULL::FLOAT[] AS nothing  -- so that there is a column to unpivot
    FROM scores
),
spread AS (
    SELECT signal, avg(list_stddev_samp(each) / nullif(list_avg(each), 0)) AS spread
    FROM (UNPIVOT unequal ON COLUMNS(* EXCLUDE caption_id) INTO NAME signal VALUE each)
    WHERE len(each) > 1
    GROUP BY signal
)
SELECT 'rejected by ' || stage || ': ' || reason AS measure, count(*) AS count,
       count(*) / CASE WHEN stage = 'plan' THEN any_value(read_rows.total)
                       ELSE any_value(scored.total) END AS share
FROM (SELECT stage, split_part(reason, ':', 1) AS reason FROM rejects), read_rows, scored
GROUP BY stage, reason
UNION ALL BY NAME
SELECT 'captions without a score' AS measure, count(*) AS count,
       count(*) / (SELECT count(*) FROM captions) AS share
FROM captions ANTI JOIN scores USING (caption_id)
UNION ALL BY NAME
SELECT 'samples whose caption was not planned (--limit)' AS measure, count(*) AS count,
       count(*) / (SELECT count(*) FROM samples) AS share
FROM samples ANTI JOIN captions USING (caption_id)
UNION ALL BY NAME
SELECT 'reference captions that are in the training set too' AS measure,
       count(DISTINCT caption_id) AS count,
       count(DISTINCT caption_id)
       / nullif((SELECT count(DISTINCT caption_id) FROM samples WHERE is_reference), 0) AS share
FROM samples SEMI JOIN (FROM captions WHERE NOT is_reference) USING (caption_id)
WHERE is_reference
UNION ALL BY NAME
SELECT 'captions longer than the model reads' AS measure, truncated AS count,
       truncated / nullif(total, 0) AS share
FROM scored
UNION ALL BY NAME
SELECT 'captions scored with several seeds' AS measure, with_seeds AS count,
       with_seeds / nullif(total, 0) AS share
FROM scored
UNION ALL BY NAME
SELECT 'seeds disagree in ' || signal || ' (share: deviation over mean)' AS measure,
       with_seeds AS count, spread AS share
FROM spread, scored
ORDER BY measure
