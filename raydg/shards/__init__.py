"""The prepared format: every domain once, checked and mapped, for streaming and random access alike. No Ray.

`<root>/<label space>/<domain>/` holds

    manifest.json               what it is: counts, class pixels, terms, and how it was made (`Manifest`); written last
    index-….parquet             one row per sample: where it lies, its size, its classes (`writing.index_schema`)
    <split>-00000-….parquet     shards: encoded images with 8-bit label maps or class ids (`writing.shard_schema`)

where … is a hash: no file but the manifest ever changes. The same input gives the same bytes of shards and index, by
whatever number of processes.
"""

from raydg.shards.encoding import Encoding
from raydg.shards.manifest import Manifest
from raydg.shards.preparing import Preparation, prepare_domains
from raydg.shards.reading import PreparedDomain, Sample

__all__ = ["Encoding", "Manifest", "Preparation", "PreparedDomain", "Sample", "prepare_domains"]
