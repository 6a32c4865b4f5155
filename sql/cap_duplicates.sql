-- The samples that go if no caption keeps more than so many, whatever its scores say: plain
-- deduplication, to compare a removal list with. Which ones stay is the same each time.
--
-- parameter keep = 1: how many samples of a caption stay
--
-- column source: input file
-- column row: row in the file, from 0
-- column key: the sample's key
-- column image_key: tells that two samples are the same image
-- column caption_id: the sample's caption
-- column n_samples: how many samples share the caption
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
