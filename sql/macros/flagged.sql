-- From which decision on a caption is flagged: the calibrated threshold of the deciding signal at
-- this false-positive rate, or else the decision that this share of the ranked captions reaches.
CREATE MACRO decision_cut(rate) AS coalesce(
    (
        SELECT any_value(CASE WHEN higher THEN threshold ELSE -threshold END)
        FROM thresholds
        WHERE signal = (SELECT decision_signal FROM ranking LIMIT 1) AND false_positive_rate = rate
    ),
    (SELECT quantile_cont(decision, 1 - rate) FROM ranking)
);

-- The rows of ranked that pass it, with samples counted for these alone.
CREATE MACRO passing(rate) AS TABLE
WITH passed AS MATERIALIZED (
    SELECT caption_id, decision, triggers FROM ranking WHERE decision >= decision_cut(rate)
),
counted AS (
    SELECT caption_id, count(*) AS n_samples
    FROM samples SEMI JOIN passed USING (caption_id)
    WHERE NOT is_reference
    GROUP BY caption_id
)
SELECT passed.*, caption, n_samples
FROM passed JOIN texts USING (caption_id) JOIN counted USING (caption_id);
