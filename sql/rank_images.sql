-- Images ranked by the caption of theirs that is most likely memorized, for data sets in which an
-- image has several captions: under repeated samples, or in several caption columns.
--
-- parameter top = 20: number of images
--
-- column image: the image key, or source#row for samples without one
-- column captions: number of the image's distinct captions that were scored
-- column samples: number of its samples
-- column caption_id: the caption with the highest decision
-- column caption: its text
-- column decision_signal: the decision signal
-- column decision: its value for that caption, oriented so that higher means memorized
--
-- example top=3
WITH scored_images AS (
    SELECT coalesce(image_key, source || '#' || "row") AS image,
           count(DISTINCT caption_id) AS captions, count(*) AS samples,
           max({decision: ranking.decision::DOUBLE, caption_id: caption_id,
                signal: ranking.decision_signal}) AS best
    FROM (SELECT source, "row", image_key, caption_id FROM samples WHERE NOT is_reference)
    JOIN ranking USING (caption_id)
    GROUP BY ALL
),
first_images AS (
    SELECT image, captions, samples, best.caption_id AS caption_id,
           best.signal AS decision_signal, best.decision AS decision
    FROM scored_images
    ORDER BY decision DESC, image LIMIT $top
)
SELECT image, captions, samples, caption_id, caption, decision_signal, decision
FROM first_images JOIN texts USING (caption_id)
ORDER BY decision DESC, image
