-- The lowest rank_score that is flagged: the calibrated threshold of the ranking signal at this
-- false-positive rate, or else the rank_score that this share of the ranked captions reaches.
CREATE MACRO rank_threshold(rate) AS coalesce(
    (
        SELECT any_value(CASE WHEN higher THEN threshold ELSE -threshold END)
        FROM thresholds
        WHERE signal = (SELECT rank_signal FROM ranking LIMIT 1) AND false_positive_rate = rate
    ),
    (SELECT quantile_cont(rank_score, 1 - rate) FROM ranking)
);

-- The rows of ranked at or above it, with samples counted for these alone.
CREATE MACRO flagged_captions(rate) AS TABLE
WITH flagged AS MATERIALIZED (
    SELECT caption_id, rank_score, triggers FROM ranking WHERE rank_score >= rank_threshold(rate)
),
counted AS (
    SELECT caption_id, count(*) AS n_samples
    FROM samples SEMI JOIN flagged USING (caption_id)
    WHERE NOT is_reference
    GROUP BY caption_id
)
SELECT flagged.*, caption, n_samples
FROM flagged JOIN texts USING (caption_id) JOIN counted USING (caption_id);
