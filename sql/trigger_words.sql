-- Words that occur more often in flagged captions than in others: log-odds with an informative
-- Dirichlet prior (Monroe et al. 2008), whose z-score measures how certain the difference is.
--
-- parameter rate = 0.01: flag captions beyond the calibrated threshold at this false-positive rate;
-- without a calibration, flag this share of the captions, highest-ranked first
-- parameter prior = 1000: weight of the prior, as an equivalent number of captions
-- parameter limit = 50: maximum number of words
--
-- column word: the word in lower case
-- column z: log-odds divided by its standard deviation; rows are sorted by it
-- column log_odds: log-odds of occurring in a flagged caption rather than another one
-- column flagged_captions: number of flagged captions with the word
-- column other_captions: number of other captions with the word
-- column trigger_captions: number of flagged captions in which it is a trigger word
-- column examples: three of those captions
--
-- example limit=3
WITH judged AS (
    SELECT caption, triggers, rank_score >= rank_threshold($rate) AS flagged
    FROM ranking JOIN texts USING (caption_id)
),
each_word AS (
    SELECT caption, flagged, unnest(word_set(caption)) AS word,
           list_transform(triggers, lambda one: lower(trim(one.text))) AS carrying
    FROM judged
),
counted AS (
    SELECT word,
           count(*) FILTER (flagged) AS flagged_captions,
           count(*) FILTER (NOT flagged) AS other_captions,
           CASE WHEN count(carrying) > 0
                THEN count(*) FILTER (flagged AND list_contains(carrying, word)) END
               AS trigger_captions,
           min(caption, 3) FILTER (flagged) AS examples
    FROM each_word GROUP BY word
),
totals AS (
    SELECT *, sum(flagged_captions) OVER () AS all_flagged, sum(other_captions) OVER () AS all_other,
           $prior * (flagged_captions + other_captions) / sum(flagged_captions + other_captions) OVER ()
               AS own
    FROM counted
),
compared AS (
    SELECT *,
           ln((flagged_captions + own) / (all_flagged + $prior - flagged_captions - own))
           - ln((other_captions + own) / (all_other + $prior - other_captions - own)) AS log_odds,
           sqrt(1 / (flagged_captions + own) + 1 / (other_captions + own)) AS deviation
    FROM totals
)
SELECT word, log_odds / deviation AS z, log_odds, flagged_captions, other_captions,
       trigger_captions, examples
FROM compared
WHERE flagged_captions > 0
ORDER BY z DESC, word
LIMIT $limit
