"""Features: the store of vectors, a folder of Parquet parts that any reader opens."""
