"""Cluster images that are the same, by their perceptual hashes."""

import pyarrow as pa

from scanner.query.clusters import create_macros
from scanner.query.database import Database, interruptible


def near_duplicate_images(images: pa.Table, distance: int) -> pa.Table:
    """Return the cluster of each of ``images`` (image, hash, colors): image, cluster, distance.

    ``distance``: bits of the hash in which linked images differ at most. A cluster's id is its
    central image; ``distance`` of the result: the bits that differ from that one.
    sql/macros/image_clusters.sql defines near-duplicates.
    """
    database = Database()
    connection = database.connection
    database.lock()
    create_macros(connection, "image_clusters")
    # By number: names are long.
    numbered = images.select(["hash", "colors"]).append_column(
        "id", pa.array(range(len(images)), pa.int64())
    )
    connection.register("pictures_given", numbered)
    sql = """
        SELECT cluster, distance FROM near_duplicate_images((
            SELECT list({id: id, hash: hash::UBIGINT, colors: colors::FLOAT[]})
            FROM pictures_given
        ), $distance) ORDER BY id"""
    found = interruptible(
        connection,
        lambda: connection.sql(sql, params={"distance": distance}).to_arrow_table(),
    )
    names = images["image"]
    return pa.table(
        {"image": names, "cluster": names.take(found["cluster"]), "distance": found["distance"]}
    )
