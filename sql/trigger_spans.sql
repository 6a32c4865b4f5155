-- Phrases that attract attention in several flagged captions; adjacent trigger words of one caption
-- form one phrase.
--
-- needs triggers
--
-- parameter rate = 0.01: flag captions beyond the calibrated threshold at this false-positive rate;
-- without a calibration, flag this share of the captions, highest-ranked first
-- parameter least = 2: minimum number of flagged captions with the phrase
-- parameter limit = 50: maximum number of phrases
--
-- column phrase: the phrase in lower case
-- column captions: number of captions with it
-- column samples: number of training samples with these captions
-- column mean_mass: attention mass on it, mean over these captions
-- column examples: three of these captions
--
-- example limit=3
WITH flagged AS MATERIALIZED (
    SELECT caption_id, caption, n_samples, triggers FROM flagged_captions($rate)
),
each_trigger AS (
    SELECT caption_id, unnest(triggers) AS one FROM flagged
),
after_another AS (
    SELECT caption_id, one,
           lag(one."end") OVER (PARTITION BY caption_id ORDER BY one.start) AS before
    FROM each_trigger
),
-- A trigger begins a phrase unless nothing but spaces and signs parts it from the one before it.
numbered AS (
    SELECT caption_id, one,
           sum(CASE WHEN before IS NULL
                      OR regexp_matches(caption[before + 1:one.start], '[\p{L}\p{N}]')
                    THEN 1 ELSE 0 END)
               OVER (PARTITION BY caption_id ORDER BY one.start) AS number
    FROM after_another JOIN flagged USING (caption_id)
),
phrases AS (
    SELECT caption_id, min(one.start) AS begins, max(one."end") AS ends, sum(one.mass) AS mass
    FROM numbered GROUP BY caption_id, number
),
normalized AS (
    SELECT regexp_extract(
               regexp_replace(lower(caption[begins + 1:ends]), '\s+', ' ', 'g'),
               '[\p{L}\p{N}](.*[\p{L}\p{N}\p{M}])?'
           ) AS phrase,
           caption_id, caption, n_samples, mass
    FROM phrases JOIN flagged USING (caption_id)
)
SELECT phrase, count(DISTINCT caption_id) AS captions,
       CAST(sum(n_samples) AS BIGINT) AS samples,
       avg(mass) AS mean_mass, min(caption, 3) AS examples
FROM normalized
WHERE phrase <> ''
GROUP BY phrase
HAVING count(DISTINCT caption_id) >= $least
ORDER BY captions DESC, mean_mass DESC, phrase
LIMIT $limit
