-- Samples to remove so that no caption keeps more than a given number, regardless of scores: plain
-- deduplication, for comparison with a removal list. The choice of samples is deterministic.
--
-- parameter keep = 1: number of samples kept per caption
--
-- column source: input file
-- column row: row in the file, from 0
-- column key: the sample's key
-- column image_key: identifies the image: samples with equal values share one image
-- column caption_id: the sample's caption
-- column n_samples: number of samples that share the caption
WITH repeated AS (
    SELECT caption_id, count(*) AS n_samples
    FROM samples
    WHERE NOT is_reference
    GROUP BY caption_id
    HAVING count(*) > $keep
)
SELECT source, "row", key, image_key, caption_id, repeated.n_samples
FROM samples JOIN repeated USING (caption_id)
WHERE NOT is_reference
QUALIFY row_number() OVER (
    PARTITION BY caption_id ORDER BY md5(source || ':' || "row"), source, "row"
) > $keep
ORDER BY source, "row"
