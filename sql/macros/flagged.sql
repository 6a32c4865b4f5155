-- From which decision on a caption is flagged: the calibrated threshold of the deciding signal at
-- this false-positive rate, or else the decision that this share of the ranked captions reaches.
CREATE MACRO decision_cut(rate) AS coalesce(
    (
        SELECT any_value(CASE WHEN higher THEN threshold ELSE -threshold END)
        FROM thresholds
        WHERE signal = (SELECT decision_signal FROM ranked LIMIT 1) AND false_positive_rate = rate
    ),
    (SELECT quantile_cont(decision, 1 - rate) FROM ranked)
);
