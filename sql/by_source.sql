-- Where flagged samples come from: counts per value of a column; URLs in it (but not those of input
-- files) are grouped by host.
--
-- parameter column = source: a column of samples, such as url or a column kept by scan --keep
-- parameter rate = 0.01: flag captions beyond the calibrated threshold at this false-positive rate;
-- without a calibration, flag this share of the captions, highest-ranked first
-- parameter limit = 50: maximum number of values
--
-- column value: the column's value; for a URL, the host
-- column samples: number of training samples with this value
-- column flagged_samples: number of these whose caption is flagged
-- column flagged_share: flagged_samples / samples
-- column flagged_captions: number of distinct flagged captions
-- column lift: flagged_share relative to that of all samples
--
-- example column=url
WITH flagged AS (
    SELECT caption_id FROM ranking WHERE rank_score >= rank_threshold($rate)
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
