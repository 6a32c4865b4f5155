-- How many of the first captions of the ranking really come out as copies, at each depth, by the
-- verdicts of memscan verify. The interval takes the verified captions for a random sample of
-- those that deep; where fewer than all are verified, it holds only if chance chose them.
--
-- needs verdicts
--
-- column depth: the first so many captions of the ranking
-- column verified: how many of them have a verdict
-- column verbatim: how many come out as a whole picture of their own
-- column template: how many come out in part, or as a picture that several captions share
-- column precision: share of the verified ones that come out as a copy
-- column precision_low: lower end of its 95 % interval (Wilson 1927)
-- column precision_high: upper end
WITH placed AS (
    SELECT row_number() OVER (ORDER BY decision DESC, caption_id) AS place, verdict
    FROM ranked LEFT JOIN verdicts USING (caption_id)
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
           count(*) FILTER (verdict = 'verbatim') AS verbatim,
           count(*) FILTER (verdict = 'template') AS template,
           (verbatim + template) / verified AS share,
           1.959964 ^ 2 / verified AS spread
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
SELECT depth, verified, verbatim, template, share AS precision,
       greatest(0, middle - reach) AS precision_low,
       least(1, middle + reach) AS precision_high
FROM intervals
ORDER BY depth
