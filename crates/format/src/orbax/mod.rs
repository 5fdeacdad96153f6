//! Orbax folders: zarr and OCDBT.
