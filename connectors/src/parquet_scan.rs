//! Parquet files as morsel sources: pages decoded by code of our own, selection first.
