-- Where flagged captions come from: samples by the value of a column, of a URL by its host.
--
-- parameter column = source: a column of samples, such as url or one that scan --keep carried
-- parameter rate = 0.01: flagged is what passes the calibrated threshold at this false-positive
-- rate, or without a calibration this share of the captions
-- parameter limit = 50: how many values
--
-- column value: the column's value, of a URL the host
-- column samples: how many samples of the training set have it
-- column flagged_samples: how many of these have a flagged caption
-- column flagged_share: the same as a share
-- column flagged_captions: how many captions these are
-- column lift: the share over that of all samples
--
-- example column=url
WITH flagged AS (
    SELECT caption_id FROM decisions WHERE decision >= decision_cut($rate)
),
valued AS (
    SELECT caption_id, COLUMNS(lambda name: name = $column)::VARCHAR AS full_value
    FROM samples WHERE NOT is_reference
),
hosted AS (
    SELECT valued.caption_id, flagged.caption_id IS NOT NULL AS is_flagged,
           CASE WHEN regexp_matches(full_value, '^[A-Za-z][A-Za-z0-9+.-]*://') AND $column <> 'source'
                THEN lower(regexp_extract(full_value, '://(?:[^/@]*@)?([^/:?#]*)', 1))
                ELSE full_value END AS value
    FROM valued LEFT JOIN flagged USING (caption_id)
),
counted AS (
    SELECT value, count(*) AS samples, count(*) FILTER (is_flagged) AS flagged_samples,
           count(DISTINCT caption_id) FILTER (is_flagged) AS flagged_captions
    FROM hosted GROUP BY value
)
SELECT value, samples, flagged_samples,
       flagged_samples / samples AS flagged_share, flagged_captions,
       flagged_samples / samples
           / nullif(sum(flagged_samples) OVER () / sum(samples) OVER (), 0) AS lift
FROM counted
ORDER BY flagged_samples DESC, samples DESC, value
LIMIT $limit
