-- Images ranked by the caption of theirs that is most likely memorized, for data sets in which an
-- image has several captions: under repeated samples, or in several caption columns.
--
-- parameter top = 20: number of images
--
-- column image: the image key, or source#row for samples without one
-- column captions: number of the image's distinct captions that were scored
-- column samples: number of its samples
-- column caption_id: its caption with the highest rank_score
-- column caption: its text
-- column rank_signal: the ranking signal
-- column rank_score: its value for that caption, oriented so that higher means memorized
--
-- example top=3
WITH scored_images AS (
    SELECT coalesce(image_key, source || '#' || "row") AS image,
           count(DISTINCT caption_id) AS captions, count(*) AS samples,
           max({rank_score: ranking.rank_score::DOUBLE, caption_id: caption_id,
                signal: ranking.rank_signal}) AS best
    FROM (SELECT source, "row", image_key, caption_id FROM samples WHERE NOT is_reference)
    JOIN ranking USING (caption_id)
    GROUP BY ALL
),
first_images AS (
    SELECT image, captions, samples, best.caption_id AS caption_id,
           best.signal AS rank_signal, best.rank_score AS rank_score
    FROM scored_images
    ORDER BY rank_score DESC, image LIMIT $top
)
SELECT image, captions, samples, caption_id, caption, rank_signal, rank_score
FROM first_images JOIN texts USING (caption_id)
ORDER BY rank_score DESC, image
