-- Precision of the ranking at each depth, by the verdicts of memscan verify. Only captions that
-- were compared with a training image count: without one, whether a seed-consistent image is a copy
-- is unknown. The interval treats the compared captions as a random sample of those at that depth;
-- where not all are compared, it holds only if they were chosen at random.
--
-- needs verdicts
--
-- parameter count_seed_consistent = 0: 1 counts seed-consistent captions as copies, and counts all
-- verified captions, compared or not
-- column depth: number of top-ranked captions considered
-- column verified: number of them with a verdict
-- column compared: number of these that were compared with a training image
-- column verbatim: number that reproduce their own training image
-- column template: number that reproduce part of it, or an image that several captions share
-- column seed_consistent: number whose seeds agree but match no training image
-- column precision: share of the compared captions that are copies; null if none was compared
-- column precision_low: lower end of its 95 % interval (Wilson 1927)
-- column precision_high: upper end of its 95 % interval
WITH placed AS (
    SELECT row_number() OVER (ORDER BY rank_score DESC, caption_id) AS place, verdict,
           verdict IS NOT NULL AND n_references IS DISTINCT FROM 0 AS is_compared
    FROM ranked
    LEFT JOIN (SELECT caption_id, verdict, n_references FROM verdicts) USING (caption_id)
),
deepest AS (
    SELECT max(place) AS place FROM placed WHERE verdict IS NOT NULL
),
depths AS (
    SELECT DISTINCT least(step * 10 ** power, deepest.place)::BIGINT AS depth
    FROM unnest([1, 2, 5]) AS steps(step) CROSS JOIN range(1, 11) AS powers(power), deepest
    WHERE deepest.place IS NOT NULL
),
counted AS (
    SELECT depth,
           count(verdict) AS verified,
           count(*) FILTER (is_compared) AS compared,
           count(*) FILTER (verdict = 'verbatim') AS verbatim,
           count(*) FILTER (verdict = 'template') AS template,
           count(*) FILTER (verdict = 'seed-consistent') AS seed_consistent,
           CASE WHEN $count_seed_consistent = 0 THEN compared ELSE verified END AS n,
           CASE WHEN $count_seed_consistent = 0 THEN 0 ELSE seed_consistent END AS counted_too,
           (verbatim + template + counted_too) / nullif(n, 0) AS share,
           1.959964 ^ 2 / nullif(n, 0) AS spread
    FROM depths JOIN placed ON place <= depth
    GROUP BY depth
),
intervals AS (
    SELECT *,
           (share + spread / 2) / (1 + spread) AS middle,
           sqrt(spread * (share * (1 - share) + spread / 4)) / (1 + spread) AS reach
    FROM counted
    WHERE verified > 0
)
SELECT depth, verified, compared, verbatim, template, seed_consistent, share AS precision,
       CASE WHEN n > 0 THEN greatest(0, middle - reach) END AS precision_low,
       CASE WHEN n > 0 THEN least(1, middle + reach) END AS precision_high
FROM intervals
ORDER BY depth
